"""The configuration of the ``gcloud`` command on this computer: its project, region and zone.

gcloud itself is not needed. Where it keeps its files, and which variables come before them:
`gcloud topic configurations`, and "Managing gcloud CLI properties".
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path


def config_folder() -> Path:
    """Return the folder of gcloud's files, which may not exist."""
    given = os.environ.get("CLOUDSDK_CONFIG")
    if given:
        return Path(given)
    if os.name == "nt":
        return Path(os.environ.get("APPDATA", "C:\\"), "gcloud")
    return Path.home() / ".config/gcloud"


def gcloud_property(section: str, name: str) -> str:
    """Return a property of the active configuration, such as ``compute``, ``region``; "" if unset.

    A variable such as CLOUDSDK_COMPUTE_REGION comes first, as for gcloud.
    """
    value = os.environ.get(f"CLOUDSDK_{section}_{name}".upper())
    if value:
        return value
    parser = configparser.ConfigParser(interpolation=None)
    try:
        folder = config_folder()
        active = folder / "active_config"
        name_of_active = os.environ.get("CLOUDSDK_ACTIVE_CONFIG_NAME") or (
            active.read_text().strip() if active.is_file() else "default"
        )
        parser.read(folder / "configurations" / f"config_{name_of_active}", encoding="utf-8")
    except (OSError, ValueError, configparser.Error, RuntimeError):  # no home folder
        return ""
    return parser.get(section, name, fallback="").strip()
