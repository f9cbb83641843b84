"""Logging in to a machine by ssh, set up by the machine itself."""

from __future__ import annotations

import contextlib
import os
import pwd
import time
from collections.abc import Sequence

from ._commands import CommandError, GuestError, run

_NO_SHELLS = ("nologin", "false", "sync")
_FIRST_UID, _LAST_UID = 1000, 59999  # of people, by login.defs(5)
_LABEL_SECONDS = 10.0
_USER_SECONDS = 20.0  # cloud-init makes the image's user early in the boot


def allow_login(keys: Sequence[str]) -> str:
    """Let the holders of these public keys log in; return the name of the user.

    It is the one that the image is made for, like ``ubuntu``: the first that people log in as.
    If there is none, it is root. Raises `GuestError`.
    """
    user = _login_user()
    if keys:
        _authorize(keys, user)
    return user.pw_name


def _authorize(keys: Sequence[str], user: pwd.struct_passwd) -> None:
    folder = os.path.join(user.pw_dir, ".ssh")
    path = os.path.join(folder, "authorized_keys")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with open(path, "a+", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.seek(0)
            there = file.read()
            new = [key for key in keys if key not in there.splitlines()]
            file.write("\n" * (bool(there) and not there.endswith("\n")))
            file.writelines(f"{key}\n" for key in new)
        for each in (folder, path):
            os.chown(each, user.pw_uid, user.pw_gid)
    except OSError as exc:
        raise GuestError(f"can't write {path}: {exc.strerror}") from exc
    with contextlib.suppress(CommandError):  # sshd reads no file without its SELinux label
        run("restorecon", "-R", folder, deadline=time.monotonic() + _LABEL_SECONDS)


def _login_user() -> pwd.struct_passwd:
    deadline = time.monotonic() + _USER_SECONDS
    while True:
        people = [user for user in pwd.getpwall() if _is_person(user)]
        if people:
            return min(people, key=lambda user: user.pw_uid)
        if time.monotonic() >= deadline:
            return pwd.getpwuid(0)
        time.sleep(0.5)


def _is_person(user: pwd.struct_passwd) -> bool:
    return (
        _FIRST_UID <= user.pw_uid <= _LAST_UID
        and not user.pw_shell.endswith(_NO_SHELLS)
        and os.path.isdir(user.pw_dir)
    )
