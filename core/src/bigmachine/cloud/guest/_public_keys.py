"""Public keys for ssh, read on the driver from texts and files."""

from __future__ import annotations

import base64
import contextlib
import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ...errors import UsageError

_KEY = re.compile(r"((?:ssh|sk-ssh|ecdsa|sk-ecdsa)-[\w@.-]+)[ \t]+([A-Za-z0-9+/]+=*)(?:[ \t].*)?")
_TYPES = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
"""What sshd accepts, by "authorized_keys file format" of sshd(8)."""
_PRIVATE = "PRIVATE KEY"
_EXAMPLE = "like 'ssh-ed25519 AAAA… name', or its file, like '~/.ssh/id_ed25519.pub'"


def read_public_keys(given: Iterable[str]) -> tuple[str, ...]:
    """Return public keys, each a line, of texts and files; ``*`` in a path matches names.

    Raises `UsageError`.
    """
    keys: dict[str, None] = {}
    for text in given:
        if _PRIVATE in text:  # which no message may show
            raise _invalid(f"it is the text of a private key: give the public one, {_EXAMPLE}")
        for line in filter(None, map(str.strip, text.splitlines())):
            keys |= dict.fromkeys([_checked(line)] if _KEY.fullmatch(line) else _read(line))
    return tuple(keys)


def _read(path: str) -> list[str]:
    pattern = os.path.expanduser(path)
    is_pattern = glob.has_magic(pattern) and not os.path.exists(pattern)
    paths = sorted(glob.glob(pattern)) if is_pattern else [pattern]
    keys = []
    for each in paths:
        try:
            content = Path(each).read_bytes()
        except (OSError, ValueError) as exc:
            why = getattr(exc, "strerror", None) or exc
            raise _invalid(f"{each}: {why}; it must be a public key, {_EXAMPLE}") from exc
        if _PRIVATE.encode() in content:
            raise _invalid(
                f"{each} is a private key, which must never leave this computer: name the public "
                f"one, as in {each}.pub"
            )
        lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        if is_pattern:  # there may be certificates, or keys of old types
            lines = [line for line in lines if line.partition(" ")[0] in _TYPES]
        keys += [_checked(line, source=f"{each}: ") for line in lines]
    if not keys:
        raise _invalid(f"there is no public key in {path}; it must be one, {_EXAMPLE}")
    return keys


def _checked(line: str, source: str = "") -> str:
    match = _KEY.fullmatch(line)
    if match is None:
        raise _invalid(f"{source}{line[:40]!r} is no public key; it must be one, {_EXAMPLE}")
    kind, blob = match.groups()
    if kind not in _TYPES:
        raise _invalid(f"{source}keys of type {kind} can't be used: choose one of another type")
    length = len(kind).to_bytes(4, "big")  # RFC 4253, section 6.6
    with contextlib.suppress(ValueError):
        if base64.b64decode(blob, validate=True).startswith(length + kind.encode()):
            return line
    raise _invalid(f"{source}the key {line[:40]!r}… is damaged: copy it again, as one line")


def _invalid(why: str) -> UsageError:
    return UsageError(f"invalid option ssh_key: {why}")
