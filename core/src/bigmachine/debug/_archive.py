"""Several files as one answer: a tar archive."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Mapping


def archive(files: Mapping[str, bytes | str], *, is_compressed: bool = True) -> bytes:
    """Return a tar archive of these files, by their paths in it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz" if is_compressed else "w") as tar:
        for name, content in sorted(files.items()):
            data = content.encode(errors="replace") if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(data), 0o600, int(time.time())
            tar.addfile(member, io.BytesIO(data))
    return made.getvalue()
