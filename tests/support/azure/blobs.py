"""What real Azure keeps in storage accounts, and gives for a signed link: the consoles of VMs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm
    from tests.support.azure.vm import Vm

ROOT = "/blobs/"
"""Where the server has them."""


@dataclass
class Blobs:
    """All of them; whoever has a link may read, without a token."""

    arm: Arm
    signature: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def links_of(self, vm: Vm) -> dict[str, str]:
        """Return what `retrieveBootDiagnosticsData` answers."""
        query = f"sv=2024-05-04&sr=b&sp=r&sig={self.signature}"
        root = f"{self.arm.url}{ROOT}{vm.id.strip('/')}"
        return {
            "serialConsoleLogBlobUri": f"{root}/serialconsole.log?{query}",
            "consoleScreenshotBlobUri": f"{root}/screenshot.bmp?{query}",
        }

    def is_asked(self, path: str) -> bool:
        return path.startswith(ROOT)

    def answer(self, path: str, query: str) -> tuple[int, bytes]:
        """Answer a request: status and content."""
        if f"sig={self.signature}" not in query:
            return 403, b"<Error><Code>AuthenticationFailed</Code></Error>"
        id, _, name = path.removeprefix(ROOT.rstrip("/")).rpartition("/")
        vm = self.arm.vms.all.get(id.lower())
        text = self.arm.vms.console_of(vm) if vm and name == "serialconsole.log" else ""
        if not text:  # there is none before anything was written
            return 404, b"<Error><Code>BlobNotFound</Code></Error>"
        return 200, text.encode()
