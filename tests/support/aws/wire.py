"""Requests of the emulated AWS and its answers, as WSGI and EC2's query API have them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

Parameters = Mapping[str, str]
Answer = tuple[str, list[Any], bytes]
"""Status, headers and content."""


def is_dry_run(parameters: Parameters) -> bool:
    """Whether a request only asks whether it would succeed."""
    return parameters.get("DryRun") == "true"


def parse(environ: Mapping[str, Any], body: bytes) -> tuple[str, dict[str, str]]:
    """Return the action and the parameters of a request."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return target.rpartition(".")[2], {k: str(v) for k, v in json.loads(body).items()}
    parameters = dict(parse_qsl(body.decode(), keep_blank_values=True))
    return parameters.get("Action", ""), parameters


def ask_app(app: Any, environ: Mapping[str, Any], body: bytes) -> Answer:
    """Return the answer of a WSGI application to a request with another body."""
    answer: list[Any] = []

    def start(status: str, headers: list[Any], exc_info: Any = None) -> None:
        answer.extend((status, headers))

    request = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    content = b"".join(app(request, start))
    status, headers = answer
    return status, headers, content


def reply(status: int, content: bytes) -> Answer:
    """Return an answer with XML."""
    return (
        f"{status} X",
        [("Content-Type", "text/xml"), ("Content-Length", str(len(content)))],
        content,
    )


def error(code: str, message: str) -> bytes:
    """Return the content of an error's answer."""
    return (
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        "</Errors><RequestID>r</RequestID></Response>"
    ).encode()
