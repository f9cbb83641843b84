"""The defaults of the ``az`` command on this computer: its subscription, cloud and location.

az itself is not needed. Where it keeps its files, and which variables come before them: "Azure CLI
configuration"; the files themselves: azure-cli-core, `_profile.py` and `cloud.py`.
"""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def config_folder() -> Path:
    """Return the folder of az's files, which may not exist."""
    given = os.environ.get("AZURE_CONFIG_DIR")
    return Path(given) if given else Path.home() / ".azure"


def az_default(name: str) -> str:
    """Return a default of ``az config set defaults.NAME=…``, such as ``location``; "" if unset.

    A variable such as AZURE_DEFAULTS_LOCATION comes first, as for az.
    """
    return os.environ.get(f"AZURE_DEFAULTS_{name.upper()}") or _config("defaults", name)


def az_cloud() -> str:
    """Return the cloud that az uses: ``AzureCloud``, ``AzureChinaCloud``, or "" if unset."""
    return os.environ.get("AZURE_CLOUD_NAME") or _config("cloud", "name")


def az_subscription() -> Mapping[str, Any]:
    """Return the subscription that az uses, as its file has it: `id`, `name`, `tenantId`, `state`.

    {} if nobody has signed in.
    """
    return next((each for each in _subscriptions() if each.get("isDefault")), {})


def other_tenant(subscription: str) -> str:
    """Return the tenant of a subscription of az's, if its default one is of another; else ""."""
    tenants = {str(each.get("id")).lower(): each.get("tenantId") for each in _subscriptions()}
    tenant = tenants.get(subscription.lower()) or ""
    return "" if tenant == az_subscription().get("tenantId") else str(tenant)


def _subscriptions() -> list[dict[str, Any]]:
    try:
        text = (config_folder() / "azureProfile.json").read_text(encoding="utf-8-sig")
        return [dict(each) for each in json.loads(text)["subscriptions"]]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return []


def _config(section: str, name: str) -> str:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(config_folder() / "config", encoding="utf-8")
    except (OSError, ValueError, configparser.Error, RuntimeError):  # no home folder
        return ""
    return parser.get(section, name, fallback="").strip()
