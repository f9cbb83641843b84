"""The console output of a VM: what Azure's boot diagnostics have of its serial port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..api._errors import AzureError
from ..api._resource_ids import ResourceId

if TYPE_CHECKING:
    from ..api._api import Api

_ACTION = "virtual_machines.retrieve_boot_diagnostics_data"
_TIMEOUT = 60.0
_MAX_CHARACTERS = 1 << 20  # of the end; Azure keeps more


async def read_console(api: Api, id: str) -> str:
    """Return what the serial port printed; "" while Azure has nothing of it.

    ``id`` is the VM's. Raises `AzureError`.
    """
    place = ResourceId.parse(id)
    answer = await api.read(
        _ACTION,
        resource_group_name=place.group,
        vm_name=place.name,
    )
    url = (answer or {}).get("serialConsoleLogBlobUri") or ""
    if not url:
        return ""
    text = await trio.to_thread.run_sync(_download, url, abandon_on_cancel=True)
    return text[-_MAX_CHARACTERS:]


def _download(url: str) -> str:
    """Return a blob, given a URL that grants access to it: without a token, which Azure refuses.

    Boot diagnostics make the blob some time after the VM; until then, there is no such blob.
    """
    import requests  # which azure-core uses, with the same proxies and certificates

    try:
        reply = requests.get(url, timeout=_TIMEOUT)
    except requests.RequestException as exc:
        # Without its text, which has the URL, and so the right to read the blob.
        raise AzureError(_ACTION, type(exc).__name__, "the log can't be downloaded") from exc
    if reply.status_code == 404:
        return ""
    if not reply.ok:
        raise AzureError(_ACTION, reply.headers.get("x-ms-error-code", ""), reply.reason)
    return str(reply.content, "utf-8", "replace")
