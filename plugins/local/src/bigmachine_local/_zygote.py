"""The driver's side of the zygote, which starts machines: its process, and the socket to it.

trio is not imported here: the zygote comes up while the driver still imports it.
"""

from __future__ import annotations

import os
import socket
import subprocess

from bigmachine.errors import StartError
from bigmachine.process import (
    close_in_children,
    module_path,
    pack,
    python_environ,
    start_command,
)

from ._variables import portable

MESSAGE_BYTES = 1 << 16
LAUNCH_DESCRIPTORS = ("config", "listen", "log", "lifeline")


class Zygote:
    """A zygote that forks machines, each of which calls ``entry``, a ``"module:function"``.

    Without ``entry`` it runs each machine's command instead. The constructor does not wait
    until the zygote is ready; it reads its messages later. ``environ`` are its environment
    variables, those of the driver now.
    """

    def __init__(self, entry: str | None) -> None:
        self.entry = entry
        self.environ = dict(os.environ)
        self.has_launched = False
        """Whether it may have children."""
        command = start_command(f"{__package__}._zygote_main:main", 0)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        header = os.memfd_create("header", os.MFD_CLOEXEC)
        try:
            with open(header, "wb", closefd=False) as file:
                environ = portable(self.environ)
                file.write(pack({**module_path(), "entry": entry, "environ": environ}))
            os.lseek(header, 0, os.SEEK_SET)
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=header,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=os.sep,  # the driver's folder may be removed meanwhile
                env=python_environ(self.environ),
                start_new_session=True,  # Ctrl-C in the terminal is for the driver only
            )
        except OSError as exc:
            ours.close()
            raise StartError(f"the process that starts machines can't be started: {exc}") from exc
        finally:
            os.close(header)
            theirs.close()
        ours.setblocking(False)
        self.control = close_in_children(ours)
