"""A program that deletes the virtual machine it runs on, with the token of its managed identity.

Python 3.9 and later, the standard library: a VM runs it before it powers off, see
`_self_deletion`. Azure bills a VM that is powered off like one that runs, so nothing is lost by
trying for long: Azure may be out of reach for hours, and what it refuses now, as a role that was
assigned a minute ago, it may accept later. It prints what comes of it, and ends within
`MAX_SECONDS` in any case. If the VM is already shutting down, it only waits until Azure has
accepted, and ends within `SHUTDOWN_SECONDS`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

MAX_SECONDS = 86400
# After the first refusal: a role assignment takes up to 10 minutes ("Troubleshoot Azure RBAC").
REFUSED_SECONDS = 900
SHUTDOWN_SECONDS = 30  # it is run twice then, and systemd waits 90 seconds for each
METADATA_URL = "http://169.254.169.254"
_VERSION = "2024-11-01"  # of Microsoft.Compute/virtualMachines
_REQUEST_SECONDS = 10
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0  # seconds, between attempts
_TEMPORARY = (408, 410, 429)  # the metadata service is away for up to 70 seconds: 410
_ACCEPTED_PAUSE = 30.0  # for Azure to end this VM; a deletion may fail though it was accepted


def main(endpoint: str, audience: str, identity: str, metadata_url: str = METADATA_URL) -> None:
    """Delete this VM by the Azure Resource Manager at the URL ``endpoint``.

    ``audience`` is what its tokens are for, and ``identity`` the resource ID of a user-assigned
    managed identity of the VM.
    """
    is_shutdown = _is_shutdown()
    seconds = SHUTDOWN_SECONDS if is_shutdown else MAX_SECONDS
    why, pause, was_refused = "no answer", _FIRST_PAUSE, False
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(_failure(why)))
    signal.alarm(seconds)
    while True:
        try:
            is_gone = _delete(endpoint, audience, identity, metadata_url)
        except Exception as exc:  # whatever it is: to power off is the more expensive
            if str(exc) != why:
                why = str(exc)
                _say(f"can't delete itself yet: {why}")
            if isinstance(exc, _Refused) and not (exc.is_temporary or was_refused or is_shutdown):
                was_refused = True
                signal.alarm(min(signal.alarm(0) or 1, REFUSED_SECONDS))  # never later
            delay, pause = pause, min(pause * 2, _LONGEST_PAUSE)
        else:
            text = "Azure has accepted that, and it still runs"
            if text != why:
                why = text
                _say("is being deleted by Azure")
            if is_gone or is_shutdown:
                return
            delay = _ACCEPTED_PAUSE
        time.sleep(delay * random.uniform(0.5, 1))  # many VMs may lose one driver


def _is_shutdown() -> bool:
    """Whether the VM is shutting down, or powers off as soon as this program has ended."""
    if "SERVICE_RESULT" in os.environ:  # systemd.exec(5): this is an ExecStopPost=
        return True
    try:
        state = subprocess.run(
            ["systemctl", "is-system-running"], stdout=subprocess.PIPE, timeout=_REQUEST_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return state.strip() == b"stopping"


def _delete(endpoint: str, audience: str, identity: str, metadata_url: str) -> bool:
    """Request the deletion; return whether it is over. Raises `OSError` if Azure refuses."""

    def read(path: str, **query: str) -> str:
        url = f"{metadata_url}/metadata/{path}?{urllib.parse.urlencode(query)}"
        return _request(url, "Metadata", "true")[1]

    # With policies a VM may have several identities: so this one is named.
    wanted = {"resource": audience, "msi_res_id": identity}
    reply = read("identity/oauth2/token", **{"api-version": "2018-02-01"}, **wanted)
    token = json.loads(reply)["access_token"]
    id = read("instance/compute/resourceId", **{"api-version": "2021-02-01"}, format="text")
    query = f"api-version={_VERSION}&forceDeletion=true"
    url = f"{endpoint.rstrip('/')}{urllib.parse.quote(id.strip())}?{query}"
    try:
        status, _ = _request(url, "Authorization", f"Bearer {token}", method="DELETE")
    except _Refused as exc:
        if exc.status == 404:  # another request was first
            return True
        raise
    return status == 204  # there is none


class _Refused(OSError):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}".strip())
        self.status = status
        self.is_temporary = status >= 500 or status in _TEMPORARY


def _request(url: str, header: str, value: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(url, method=method, headers={header: value})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_REQUEST_SECONDS) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as exc:
        raise _Refused(exc.code, _message(exc)) from exc


def _message(exc: urllib.error.HTTPError) -> str:
    """Return the code and the message of an error of Azure, which is JSON, in two forms."""
    try:
        reply = json.loads(exc.read())
        if "error_description" in reply:  # of the metadata service
            return str(reply["error_description"])
        return f"{reply['error']['code']}: {reply['error']['message']}"
    except (ValueError, LookupError, TypeError, OSError):
        return str(exc.reason)


def _failure(why: str) -> str:
    return (
        f"bigmachine: this VM can't delete itself: {why}. It powers off, but costs as much as "
        "before until it is deleted, as by `bigmachine reap azure`"
    )


def _say(text: str) -> None:
    print(f"bigmachine: this VM {text}", flush=True)
