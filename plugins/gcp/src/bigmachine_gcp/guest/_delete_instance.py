"""A program that deletes the instance it runs on, with the token of its service account.

Python 3.9 and later, the standard library: an instance runs it when it powers off, see
`_self_deletion`. It prints what came of it, and ends within `MAX_SECONDS` in any case. If it is
run again after it has succeeded, it does nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

MAX_SECONDS = 20
METADATA_URL = "http://169.254.169.254"  # not by its name, which may not be resolved any more
_REQUEST_SECONDS = 5
_PAUSE_SECONDS = 0.5
# Reasons of answers 403 that are no refusal ("Troubleshooting rate limit errors").
_RATE_LIMITS = ("rateLimitExceeded", "userRateLimitExceeded", "concurrentLimitExceeded")


def main(endpoint: str, metadata_url: str = METADATA_URL) -> None:
    """Delete this instance by the Compute Engine API at the URL ``endpoint``."""
    done = os.path.abspath(__file__) + ".done"
    if os.path.exists(done):
        return
    why = "no answer"
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(_failure(why)))
    signal.alarm(MAX_SECONDS)
    while True:
        try:
            _delete(endpoint, metadata_url)
        except urllib.error.HTTPError as exc:
            reason, message = _error(exc)
            if exc.code == 404:  # another request was first
                break
            if exc.code < 500 and exc.code not in (400, 409, 429) and reason not in _RATE_LIMITS:
                sys.exit(_failure(f"{exc.code} {message}"))
            why = f"{exc.code} {message}"  # not ready, for example
        except OSError as exc:
            why = str(exc)
        else:
            break
        time.sleep(_PAUSE_SECONDS)
    print("bigmachine: Google deletes this instance", flush=True)
    with open(done, "w"):
        pass


def _delete(endpoint: str, metadata_url: str) -> None:
    def read(path: str) -> bytes:
        return _request(f"{metadata_url}/computeMetadata/v1/{path}", "Metadata-Flavor", "Google")

    try:
        token = json.loads(read("instance/service-accounts/default/token"))["access_token"]
    except urllib.error.HTTPError as exc:
        if exc.code == 404:
            sys.exit(_failure("it has no service account"))
        raise
    project, name = read("project/project-id").decode(), read("instance/name").decode()
    zone = read("instance/zone").decode().rpartition("/")[2]  # projects/NUMBER/zones/ZONE
    path = f"projects/{project}/zones/{zone}/instances/{name}"
    url = f"{endpoint.rstrip('/')}/compute/v1/{urllib.parse.quote(path, safe='/:')}"
    _request(url, "Authorization", f"Bearer {token}", method="DELETE")


def _request(url: str, header: str, value: str, method: str = "GET") -> bytes:
    request = urllib.request.Request(url, method=method, headers={header: value})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_REQUEST_SECONDS) as response:
        return bytes(response.read())


def _error(exc: urllib.error.HTTPError) -> tuple[str, str]:
    """Return the reason and the message of an error of the API, which is JSON."""
    try:
        error = json.loads(exc.read())["error"]
        return str(error["errors"][0]["reason"]), str(error["message"])
    except (ValueError, LookupError, TypeError, OSError):
        return "", str(exc.reason)


def _failure(why: str) -> str:
    return (
        f"bigmachine: this instance can't delete itself: {why}. It powers off, but its disks cost "
        "money until it is deleted, as by `bigmachine reap gcp`"
    )
