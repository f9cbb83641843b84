"""The driver's process and what others can read: START-10, START-15 and MACHINE-6 broken."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile

from bigmachine_local import LocalSystem
from tests.conformance.broken import breaks
from tests.conformance.broken._helper import Helper
from tests.conformance.cloud import CloudSystem


@breaks({"START-10": "a private key is in the environ of process"}, options={"fork": False})
class KeyInEnvironment(LocalSystem):
    """The machine's private key is in an environment variable of its process."""

    async def start(self, count, request):
        try:
            return await super().start(count, _Exporting(request))
        finally:
            os.environ.pop("MACHINE_KEY", None)


class _Exporting:
    def __init__(self, request):
        self._boot = request

    def new_machine(self):
        made = self._boot.new_machine()
        begin = made.config.find(b"-----BEGIN PRIVATE KEY-----")
        with contextlib.suppress(UnicodeDecodeError):
            os.environ["MACHINE_KEY"] = made.config[begin : begin + 220].decode()
        return made


@breaks({"START-10": ".config, where others can read it"})
class KeyInFile(CloudSystem):
    """The configuration is in a file that everybody can read, until the machine has read it."""

    async def _power_on(self, vm, order):
        path = os.path.join(tempfile.gettempdir(), f"{order.name}.config")
        with open(path, "wb") as file:
            file.write(order.config)
        try:
            await super()._power_on(vm, order)
        finally:
            os.unlink(path)


@breaks({"START-10": "a private key is in the log, where others can read it"})
class KeyInLog(CloudSystem):
    """Each configuration is in the log, at level DEBUG."""

    async def _power_on(self, vm, order):
        logging.getLogger("cloud").debug("configuration of %s: %s", order.name, order.config)
        await super()._power_on(vm, order)


@breaks({"START-15": "changed while a machine runs: the environment variable"})
class SetsEnvironment(CloudSystem):
    """`setup` sets a variable of the driver for the provider's tools."""

    async def setup(self):
        await super().setup()
        os.environ["CLOUD_SESSION"] = str(id(self))


@breaks({"START-15": "changed while a machine runs: the umask"})
class SetsUmask(CloudSystem):
    """While machines run, the driver's umask is a private one."""

    async def start(self, count, request):
        self.__dict__.setdefault("_umask", os.umask(0o077))
        return await super().start(count, request)

    async def shutdown(self):
        await super().shutdown()
        if "_umask" in self.__dict__:
            os.umask(self.__dict__.pop("_umask"))


@breaks({"MACHINE-6": "has inherited an open file of the driver"})
class HelperInheritsFiles(CloudSystem):
    """A helper process inherits the driver's open files."""

    async def start(self, count, request):
        if not hasattr(self, "_shipper"):
            self._shipper = Helper(tied=True, close_fds=False)
        return await super().start(count, request)

    async def shutdown(self):
        await super().shutdown()
        if hasattr(self, "_shipper"):
            self._shipper.end()
            del self._shipper
