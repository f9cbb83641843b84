"""The tags that identify every resource of a session, for any process.

Names are those of `_names`: the session's security group is ``bm-SESSION``, a machine's
VM ``bm-SESSION-mN``; the network interface, address and disks of a VM have names that begin with
the VM's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from bigmachine.boot import Driver
from bigmachine.cloud import resource_details, session_facts

from ._names import session_resource_name
from ._option_formats import MAX_TAG_VALUE, TAG_PREFIX
from ._options import AzureOptions

logger = logging.getLogger("bigmachine.azure")

SESSION = TAG_PREFIX + "session"
"""The session's full name."""
MACHINE = TAG_PREFIX + "machine"
"""The machine's short name, as ``m3``; only on what a machine has."""
REQUEST = TAG_PREFIX + "request"
"""The token of the request that launched it, to find what a request without an answer launched."""
DRIVER = TAG_PREFIX + "driver"
"""The driver, to find out whether it is alive."""
PORT = TAG_PREFIX + "port"
"""The port of its machines, if that is not the default."""
IMMORTAL = TAG_PREFIX + "immortal"
"""On resources that outlive their session, for debugging."""


def session_tags(session: str, driver: Driver, o: AzureOptions) -> dict[str, str]:
    """Return the tags of a session's resources, with the current time: see `session_facts`."""
    facts = session_facts(
        session, driver, o, is_detailed=o.detailed_tags, clean=lambda _, text: tag_value(text)
    )
    return {**o.own_tags, **{TAG_PREFIX + name: value for name, value in facts.items()}}


def machine_tags(session: Mapping[str, str], machine: str, request: str) -> dict[str, str]:
    """Return the tags of what one machine has, from those of its session."""
    return {**session, MACHINE: machine.partition(".")[0], REQUEST: request}


def tag_value(text: str) -> str:
    """Return a text as a tag's value: at most 256 characters of ASCII, on one line.

    Azure allows all characters in values, but then a VM's metadata may be unreadable ("Use tags to
    organize your Azure resources": "decoding progress failure … from IMDS"), with which a machine
    deletes its VM. Each other character is a question mark.
    """
    plain = "".join(c if c.isprintable() else " " for c in text).encode("ascii", "replace")
    return " ".join(plain.decode().split())[:MAX_TAG_VALUE]


def warn_of_unreadable(own_tags: Mapping[str, str]) -> None:
    """Log a warning about the user's tags by which a VM's metadata may be unreadable."""
    odd = [key for key, value in own_tags.items() if not f"{key}{value}".isascii()]
    if odd:
        logger.warning(
            "tags: with other characters than ASCII, as in %s, a VM may not be able to read its "
            "metadata, says Azure, and then its machine can't delete it: write these tags without",
            ", ".join(odd),
        )


def tags_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a resource that Azure described, with bigmachine's keys as above.

    Azure keeps the case of keys, but "operations on tag names are case-insensitive", and some
    tools change it.
    """
    tags = {str(key): str(value or "") for key, value in (raw.get("tags") or {}).items()}
    return {key.lower() if key.lower().startswith(TAG_PREFIX) else key: tags[key] for key in tags}


def session_of(raw: Mapping[str, Any]) -> str:
    """Return the full name of the session that a resource is of; "" if bigmachine did not make it.

    Its name must begin with the session's, so that copied tags do not count.
    """
    session = tags_of(raw).get(SESSION, "")
    prefix = session_resource_name(session) if session else ""
    name = str(raw.get("name", "")).lower()
    return session if prefix and (name == prefix or name.startswith(f"{prefix}-")) else ""


def details(tags: Mapping[str, str], *, kind: str, **more: str) -> dict[str, str]:
    """Return the details of an `Instance`, from a resource's tags."""
    return resource_details(tags, prefix=TAG_PREFIX, kind=kind, **more)
