"""What a session's resources say about it, in tags or in a description, for any process to read."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping

from ..._driver import Driver
from ...system import VmOptions
from ...system.cloud._vm_options import PORT

_OF_RESOURCES = ("session", "driver", "host", "started")
_PORT_DIGITS = 5


def session_facts(
    session: str,
    driver: Driver,
    o: VmOptions,
    *,
    is_detailed: bool,
    clean: Callable[[str, str], str],
) -> dict[str, str]:
    """Return what the resources of a session, which begins now, say about it.

    These are ``session``, its name; ``driver``, to find out whether it is alive; ``host``, its
    computer; ``started``, when, in UTC; ``immortal`` if they outlive their session; ``port`` of the
    machines if that is not the default; and if it ``is_detailed``, the driver's ``user`` and
    ``command``, see `Driver`. ``clean("host", text)`` returns the texts of host, user and command
    as the provider takes them.
    """
    now = datetime.datetime.now(datetime.UTC)
    detailed = {"user": driver.user, "command": driver.command} if is_detailed else {}
    return {
        "session": session,
        "driver": str(driver),
        "host": clean("host", driver.host),
        **{name: value for name, text in detailed.items() if (value := clean(name, text))},
        "started": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        **({"immortal": "yes"} if o.immortal else {}),
        **({"port": str(o.port)} if o.port != PORT else {}),
    }


def machine_port(text: str) -> int:
    """Return the port that a resource's ``port`` says; the default if it says none, or nonsense.

    Other tools, and people, write what they like on resources, and one must not hide the others.
    """
    is_port = text.isascii() and text.isdecimal() and len(text) <= _PORT_DIGITS
    port = int(text) if is_port else 0
    return port if 0 < port < 1 << 16 else PORT


def resource_details(
    facts: Mapping[str, str], *, prefix: str = "", kind: str, **more: str
) -> dict[str, str]:
    """Return the details of an `Instance`, from what a resource says about its session.

    The names of these facts begin with ``prefix``, and ``kind`` is the resource's.
    """
    return {"kind": kind, **{name: facts.get(prefix + name, "") for name in _OF_RESOURCES}, **more}
