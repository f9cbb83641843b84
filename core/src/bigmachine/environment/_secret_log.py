"""What a session's log says of the secrets that are not sent."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from ._left_out import LeftOut, Reason
from ._messages import first_of
from ._scan import Folder

logger = logging.getLogger("bigmachine.environment")

_MAX_NAMED = 5  # paths in a message
_MAX_MODULES = 200  # of each folder, to search for the names of files
_MODULE_BYTES = 256 << 10


def log_secrets(left_out: Iterable[LeftOut], folders: Sequence[Folder]) -> None:
    """Log in one line which secrets are not sent.

    That is a warning if a module in ``folders`` has the name of one of them in it, so that the
    program may miss it on the machines; otherwise it is information.
    """
    secrets = {each.path: each for each in left_out if each.reason is Reason.SECRET}
    if not secrets:
        return
    used = {path for path in secrets if _is_mentioned(PurePosixPath(path).name, folders)}
    named = sorted(secrets.values(), key=lambda each: each.path not in used)
    logger.log(
        logging.WARNING if used else logging.INFO,
        "secrets are not sent to the machines: %s; `bigmachine env` says how to send one",
        first_of([str(each) for each in named], most=_MAX_NAMED),
    )


def _is_mentioned(name: str, folders: Sequence[Folder]) -> bool:
    words = [name.encode("utf-8", "surrogateescape")]
    if name.startswith(".env"):
        words.append(b"dotenv")  # the package that reads it, and says nothing if there is none
    for folder in folders:
        modules = [file for file in folder.files if file.path.endswith(".py")]
        for module in modules[:_MAX_MODULES]:
            try:
                with module.source.open("rb") as file:
                    text = file.read(_MODULE_BYTES)
            except OSError:
                continue
            if any(word in text for word in words):
                return True
    return False
