"""A VM that runs the boot program, and the driver's end of it: what tests of booting begin with."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import zipfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import trio

from bigmachine._identity import Authority
from bigmachine.boot import LaunchRequest, machine_names
from bigmachine.boot._client import BootClient
from bigmachine.boot._config import Configurator
from bigmachine.errors import TransportError
from bigmachine.rpc import http_client
from bigmachine.system import Keepalive
from tests.support.vms.vms import Vm, VmSystem
from tests.support.waiting import eventually

HERE = f"3.{sys.version_info.minor}"


def boot_of(authority: Authority, *, timeout: float = 10.0) -> LaunchRequest:
    return LaunchRequest(
        authority=authority,
        names=machine_names(),
        keepalive=Keepalive(period=1, timeout=timeout, rpc_timeout=5),
        argv=["program"],
        environ={},
        configure=Configurator(system=VmSystem(), maxprocs=None),
    )


class Rig:
    """A booted VM, and the driver's client and credentials for it."""

    def __init__(self, vm: Vm, authority: Authority, request: LaunchRequest, http: Any) -> None:
        self.vm = vm
        self.authority = authority
        self.request = request
        self.http = http
        self.wire = BootClient(http, address=vm.address, name=request.credential.name)
        self.name = request.new_machine().name

    async def contact(self) -> Any:
        """Call the boot program until it answers."""
        with trio.fail_after(60):
            while True:
                try:
                    return await self.wire.call("info")
                except (ConnectionRefusedError, TransportError):
                    # Not up yet; or the one before it died as it accepted this connection.
                    await trio.sleep(0.02)

    async def identify(self) -> None:
        await self.contact()
        point = bytes.fromhex((await self.wire.call("key"))["point"])
        identity = self.request.certify(self.name, point)
        await self.wire.call("identify", certificate=identity.certificate.decode())
        self.wire.name = self.name

    async def upload(self, data: bytes, *, offset: int = 0, sha256: str = "") -> None:
        async def content() -> AsyncIterator[bytes]:
            yield data[offset:]

        await self.wire.put(
            sha256 or hash_of(data), offset=offset, size_bytes=len(data), content=content()
        )

    async def built(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Build the environment, and return the result."""
        await self.wire.call("build")
        while True:
            status = (await self.wire.call("status"))["build"]
            if status["built"] or status["error"]:
                return status
            await trio.sleep(0.02)

    def prefix(self, manifest: dict[str, Any]) -> Path:
        return self.vm.disk / "store" / "environments" / manifest["digest"]

    async def kept(self, manifest: dict[str, Any]) -> None:
        """Wait until the environment is on the disk and marked as complete."""
        mark = self.prefix(manifest) / "bigmachine.json"
        await eventually(lambda: mark.exists() and mark.read_text().endswith("}"))

    async def off(self) -> None:
        """Wait until the VM is off."""
        await eventually(lambda: self.vm.is_off)


@contextlib.asynccontextmanager
async def rig(
    python: str = sys.executable, *, timeout: float = 10.0, **options: Any
) -> AsyncIterator[Rig]:
    vm = Vm(python)
    try:
        async with booted(vm, timeout=timeout, **options) as r:
            yield r
    finally:
        await vm.destroy()


@contextlib.asynccontextmanager
async def booted(
    vm: Vm, session: str = "test.bigmachine", *, timeout: float = 10.0, **options: Any
) -> AsyncIterator[Rig]:
    """Boot a VM for a session of that name; power it off at the end."""
    authority = Authority(session)
    boot = boot_of(authority, timeout=timeout)
    try:
        await vm.power_on(boot, **options)
        async with http_client(authority.issue("driver")) as http:
            yield Rig(vm, authority, boot, http)
    finally:
        await vm.power_off()


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(name: str = "little", version: str = "1.0", code: str = "here = 1\n") -> bytes:
    file = BytesIO()
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{name}-{version}.data/scripts/tool", "#!python\nprint('tool')\n")
    return file.getvalue()


def manifest_of(*wheels: bytes, python: str = HERE, digest: str = "d" * 64) -> dict[str, Any]:
    entries = [
        {
            "name": "little",
            "version": "1.0",
            "index": False,
            "wheel": {"sha256": hash_of(data), "size": len(data), "filename": "little.whl"},
        }
        for data in wheels
    ]
    content = {
        "python": python,
        "distributions": {entry["name"]: entry["version"] for entry in entries},
        "files": {},
    }
    return {
        "format": 1,
        "python": python,
        "digest": digest,
        "content": content,
        "distributions": entries,
        "folders": [],
        "pip": None,
        "indexes": {},
    }
