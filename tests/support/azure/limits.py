"""Limits of Azure's that the SDK's models don't have, by model and property."""

from __future__ import annotations

from typing import Any

LIMITS: dict[str, dict[str, Any]] = {}
OPEN_ENUMS = {
    # "This enum data type is currently deprecated": sizes are told by ``resource_skus``.
    "HardwareProfile.vmSize",
}
"""Properties whose enums don't have all values that Azure takes."""
