"""What client and server of the HTTP side must agree on."""

from __future__ import annotations

STATUS_RAISED = 590
"""The method raised: the body is the pickled error, or JSON that describes it."""


LIMIT_HEADER = "bigmachine-limit"
"""Header of the 101 response: the largest message accepted, in bytes."""
