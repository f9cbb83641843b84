"""The user's error for an error of Azure: what Azure answered, and what to do next."""

from __future__ import annotations

from bigmachine.errors import BigmachineError, StartError

from ._errors import AzureError


def explain(error: AzureError) -> BigmachineError:
    """Return the error for the user."""
    return StartError(f"{error.action} failed: Azure answered {error.code}: {error.message}")
