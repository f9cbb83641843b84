"""The service of these tests, in a light module, since each machine imports it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading


class Host:
    """Inspects its machine from inside, and makes it fail."""

    def setup(self, session):
        self.session = session

    async def echo(self, value):
        return value

    async def slow_echo(self, value, seconds):
        import trio

        await trio.sleep(seconds)
        return value

    def ask(self, addr, value):
        return self.session.connect(addr).call("Host.echo", value)

    def reaches(self, address):
        """Whether an address answers at all."""
        try:
            socket.create_connection((address, 1), 0.5).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False

    def interfaces(self):
        """Return the network interfaces, with their addresses."""
        listing = subprocess.run(
            ["ip", "-br", "-4", "addr"], capture_output=True, text=True, check=True
        )
        rows = [line.split() for line in listing.stdout.splitlines()]
        return {name.partition("@")[0]: addresses for name, _, *addresses in rows}

    def say(self, text):
        print(text)

    def pid(self):
        return os.getpid()

    def start_detached(self):
        """Start a process that leaves the machine's session; return its process id."""
        return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid

    async def hold_interpreter(self):
        """Shortly after, hold the GIL, so that no other thread runs again."""
        threading.Timer(0.2, pow, (3, 10**10)).start()

    async def crash(self):
        os.kill(os.getpid(), signal.SIGKILL)

    async def freeze(self):
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGSTOP)).start()
