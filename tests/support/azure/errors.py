"""Errors in Azure Resource Manager's own shape ("Error response content", common types v5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ArmError(Exception):
    """An answer that says why a request was not carried out, or why an operation failed."""

    status: int
    code: str
    """As ``SkuNotAvailable``."""
    message: str
    target: str = ""
    details: Sequence[Mapping[str, Any]] = ()
    """Errors again: each has ``code`` and ``message``."""
    additional_info: Sequence[Mapping[str, Any]] = ()
    """``additionalInfo``: each has ``type`` and ``info``, as that of a policy."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the answer, as ``Retry-After``."""

    def error(self) -> dict[str, Any]:
        """Return what answers and operations have as ``error``."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target:
            error["target"] = self.target
        if self.details:
            error["details"] = [*self.details]
        if self.additional_info:
            error["additionalInfo"] = [*self.additional_info]
        return error

    def body(self) -> dict[str, Any]:
        """Return the answer's content."""
        return {"error": self.error()}


def not_found(type: str, name: str, group: str) -> ArmError:
    """Return that of a resource that is not in its resource group."""
    text = f"The Resource '{type}/{name}' under resource group '{group}' was not found."
    more = "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    return ArmError(404, "ResourceNotFound", f"{text} {more}")


def group_not_found(group: str) -> ArmError:
    return ArmError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")


def invalid_reference(id: str, user: str) -> ArmError:
    """Return that of a resource that names another one which is not there, as Network words it."""
    return ArmError(
        400,
        "InvalidResourceReference",
        f"Resource {id} referenced by resource {user} was not found. Please make sure that the "
        "referenced resource exists, and that both resources are in the same region.",
    )


def invalid(target: str, value: Any, why: str = "") -> ArmError:
    """Return that of a parameter which has an unusable value, as Microsoft.Compute words it."""
    text = f"The value '{value}' of parameter '{target}' is invalid. {why}".strip()
    return ArmError(400, "InvalidParameter", text, target=target)
