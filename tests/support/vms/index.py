"""A package index for tests, and a wheel of uv for it."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import shutil
import sys
import threading
import zipfile
from pathlib import Path

from bigmachine.environment._tools import find_uv

HOST = "127.0.0.2"  # this computer; drivers do not send machines indexes at localhost or 127.0.0.1


class Index:
    """A package index: wheels in a folder; with a password, only for clients that have it."""

    def __init__(self, folder: Path, *, host: str = HOST, password: str = "") -> None:
        self.folder = folder
        self.requested: list[str] = []
        self._authorization = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()
        index = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if password and self.headers.get("authorization") != index._authorization:
                    self.send_response(401)
                    self.send_header("www-authenticate", "Basic")
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                index.requested.append(self.path)
                super().do_GET()

            def log_message(self, format: str, *args: object) -> None:
                pass

        handler = functools.partial(Handler, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer((host, 0), handler)
        user = f"me:{password}@" if password else ""
        self.url = f"http://{user}{host}:{self._server.server_port}/simple"

    def __enter__(self) -> Index:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, file: Path) -> Path:
        """Offer a wheel; return the path of its copy."""
        name = file.name.partition("-")[0].replace("_", "-")
        place = self.folder / "simple" / name
        place.mkdir(parents=True, exist_ok=True)
        offered = Path(shutil.copy(file, place))
        links = "".join(f'<a href="{f.name}">{f.name}</a>' for f in place.glob("*.whl"))
        (place / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
        return offered


def pack_uv(folder: Path) -> Path:
    """Make a wheel of the installed uv, like the one that an index has."""
    [uv, *module] = find_uv() or [""]
    if module:
        uv = str(Path(sys.executable).with_name("uv"))
    path = folder / "uv-0.0.1-py3-none-any.whl"
    files: dict[str, bytes] = {
        "uv-0.0.1.data/scripts/uv": Path(uv).read_bytes(),
        "uv-0.0.1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: uv\nVersion: 0.0.1\n",
        "uv-0.0.1.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100755 << 16
            archive.writestr(info, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
            record += f"{name},sha256={digest.rstrip('=')},{len(content)}\n"
        archive.writestr("uv-0.0.1.dist-info/RECORD", record + "uv-0.0.1.dist-info/RECORD,,\n")
    return path
