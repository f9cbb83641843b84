"""Names: what Azure takes as the name of a resource ("Naming rules and restrictions")."""

from __future__ import annotations

import re

from tests.support.azure.errors import ArmError
from tests.support.schemas import REFUSED

_WORD = r"[A-Za-z0-9]([\w.-]{0,78}\w)?"
_NETWORK_TEXT = (
    "The name can be up to 80 characters long. It must begin with a word character, and it must "
    "end with a word character or with '_'. The name may contain word characters or '.', '-', '_'."
)
_PATTERNS = {
    "microsoft.resources/resourcegroups": r"[-\w._()]{0,89}[-\w_()]",
    "microsoft.network/virtualnetworks": r"[A-Za-z0-9]([\w.-]{0,62}\w)?",
    "microsoft.compute/disks": r"[\w.-]{1,80}",
}
"""By type in lower case; other ones of Microsoft.Network are as `_WORD`."""
# "Reserved resource names": a name may not contain the first, nor begin with the second.
_RESERVED = re.compile(r"microsoft|windows|^(login|xbox)", re.IGNORECASE)


def check_name(type: str, name: str) -> None:
    """Refuse a name that a type of resources can't have."""
    pattern = _PATTERNS.get(type.lower())
    if pattern is None and type.lower().startswith("microsoft.network/"):
        pattern = _WORD
    if pattern and not re.fullmatch(pattern, name, re.ASCII):
        _refuse("InvalidResourceName", f"Resource name {name} is invalid. {_NETWORK_TEXT}")
    if found := _RESERVED.search(name):
        _refuse(
            "ReservedResourceName",
            f"The resource name '{name}' or a part of the name is a trademarked or reserved word: "
            f"'{found[0]}'.",
        )


def _refuse(code: str, text: str) -> None:
    REFUSED.append(f"{code}: {text}")
    raise ArmError(400, code, text)
