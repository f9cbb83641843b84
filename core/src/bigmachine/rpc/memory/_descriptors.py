"""Descriptors of this process that are not lost, wherever an exception comes from."""

from __future__ import annotations

import contextlib
import os
import socket
from array import array
from collections import deque
from collections.abc import Callable
from itertools import chain, repeat
from operator import itemgetter


class Descriptors:
    """Some descriptors, which are closed with this object at the latest.

    A signal handler may raise between any two instructions, and large memory would be lost with its
    descriptor. So each comes, and goes, in a single call that is C throughout.
    """

    def __init__(self) -> None:
        self.numbers = array("i")

    def create(self, function: Callable[..., int], *args: object) -> None:
        """Add the one that ``function`` returns; it must be a builtin one."""
        self.numbers.extend(map(function, *([value] for value in args)))

    def receive(self, sock: socket.socket, data: bytearray, *, most: int) -> None:
        """Receive a packet: its bytes into ``data``, and up to ``most`` descriptors."""
        room = socket.CMSG_LEN(most * self.numbers.itemsize)
        packet = map(sock.recvmsg_into, [[data]], [room], [socket.MSG_CMSG_CLOEXEC])
        messages = chain.from_iterable(map(itemgetter(1), packet))  # no other kind can be there
        deque(map(self.numbers.frombytes, map(itemgetter(2), messages)), maxlen=0)

    def close(self) -> None:
        """Close them."""
        numbers = self.numbers
        deque(map(os.close, map(numbers.pop, repeat(-1, len(numbers)))), maxlen=0)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was interrupted before it had any
            self.close()
