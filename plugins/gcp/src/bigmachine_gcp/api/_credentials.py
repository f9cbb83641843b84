"""Application default credentials, as Google's library finds them, and the project that they name.

Where Google's library would look for a metadata server for many seconds, this asks once, briefly.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigmachine.cloud import quiet
from bigmachine.errors import StartError

from ._advice import explain
from ._credential_advice import LOGIN
from ._errors import GcpError
from ._gcloud import config_folder

logger = logging.getLogger("bigmachine.gcp")

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_FILE_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_METADATA_ADDRESS = "169.254.169.254"
_METADATA_SECONDS = 1.0  # it answers within milliseconds, wherever there is one
# google-auth warns of users' credentials without a quota project, in a text of five lines. Compute
# Engine needs none; where one is needed, Google's error says so, and `explain` what to do.
_WARNING = "Your application has authenticated using end user credentials"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials for Google's APIs. Any: google-auth is imported late."""

    value: Any
    project: str
    """The project that comes with them; "" if none does."""

    def for_compute(self) -> Any:
        """Return them without their quota project, unless a variable names it.

        `gcloud auth application-default login` stores the project of that day. Compute Engine
        counts requests in the project that they are about; with another project's name it
        refuses them if Compute Engine is not enabled there, or no permission allows its use.
        Other services need one from users.
        """
        is_wanted = bool(os.environ.get("GOOGLE_CLOUD_QUOTA_PROJECT"))
        if is_wanted or not getattr(self.value, "quota_project_id", None):
            return self.value
        return self.value.with_quota_project(None)

    def for_others(self, project: str) -> Any:
        """Return them for services that need a quota project from users, by default this one."""
        is_user = type(self.value).__module__ == "google.oauth2.credentials"
        if not is_user or self.value.quota_project_id:
            return self.value
        return self.value.with_quota_project(project)

    @property
    def account(self) -> str:
        """The service account's address; "" for a user, whom these credentials don't name."""
        email = getattr(self.value, "service_account_email", "") or ""
        return str(email) if "@" in str(email) else ""


def find_credentials(*, is_emulator: bool = False) -> Credentials:
    """Return the application default credentials; for an emulator, anonymous ones if none exist.

    Raises `StartError`, for users.
    """
    try:
        import google.auth
        from google.auth.credentials import AnonymousCredentials
        from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
    except ImportError as exc:  # not after a regular installation
        raise StartError(
            "system 'gcp' needs google-cloud-compute: pip install google-cloud-compute"
        ) from exc
    file = _file()
    if not (file or _has_metadata_server()):
        if is_emulator:
            return Credentials(AnonymousCredentials(), "")
        raise StartError(
            f"there are no Google Cloud credentials: run `{LOGIN}`, or set {_FILE_VARIABLE} to "
            f"the file of a service account's key, or of a workload identity federation"
        )
    warnings.filterwarnings("ignore", _WARNING)
    try:
        user = _user_credentials(file) if file else None
        with quiet("google.auth._default", logging.WARNING):  # that there is no project
            value, project = (user, _project()) if user else google.auth.default(scopes=SCOPES)
    except (RefreshError, TransportError) as exc:  # it asks for the project of a federation
        raise explain(
            GcpError("google.auth.default", type(exc).__name__, str(exc), is_response=False)
        ) from exc
    except (GoogleAuthError, OSError, ValueError, AttributeError) as exc:  # JSON of another kind
        raise StartError(_file_advice(exc)) from exc
    logger.debug("Google Cloud credentials are %s", type(value).__module__)
    return Credentials(value, project or "")


def _file() -> Path | None:
    """Return the file of credentials, if one is named, or if the user has signed in by gcloud."""
    variable = os.environ.get(_FILE_VARIABLE)
    if variable:
        return Path(variable)
    file = config_folder() / "application_default_credentials.json"
    return file if file.is_file() else None


def _user_credentials(file: Path) -> Any:
    """Return a user's credentials; None if those in the file are of another kind.

    google.auth.default() would find the same, and run ``gcloud config get project`` besides,
    which takes a second.
    """
    from google.oauth2.credentials import Credentials

    if not file.is_file() or json.loads(file.read_text()).get("type") != "authorized_user":
        return None
    return Credentials.from_authorized_user_file(str(file)).with_quota_project_from_environment()


def _project() -> str:
    return os.environ.get("GOOGLE_CLOUD_PROJECT") or os.environ.get("GCLOUD_PROJECT") or ""


def _has_metadata_server() -> bool:
    """Whether this runs where Google provides credentials: an instance, Cloud Run, and others.

    google-auth tries three times for three seconds, and on a network that drops its packets the
    whole time passes. NO_GCE_CHECK and the other variables are google-auth's.
    """
    if os.environ.get("NO_GCE_CHECK") == "true":
        return False
    if os.environ.get("GCE_METADATA_HOST") or os.environ.get("GCE_METADATA_ROOT"):
        return True
    host = os.environ.get("GCE_METADATA_IP", _METADATA_ADDRESS)
    connection = http.client.HTTPConnection(host, timeout=_METADATA_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/", headers={"Metadata-Flavor": "Google"})
            return connection.getresponse().getheader("Metadata-Flavor") == "Google"
        except (OSError, http.client.HTTPException):
            return False


def _file_advice(exc: Exception) -> str:
    """Return what to do about a file of credentials that can't be used."""
    variable = os.environ.get(_FILE_VARIABLE)
    if variable and not Path(variable).is_file():
        return (
            f"{_FILE_VARIABLE} names {variable!r}, which is not a file: correct it, or unset it to "
            f"use your own credentials, of `{LOGIN}`"
        )
    if variable:
        return (
            f"the credentials in {variable!r}, which {_FILE_VARIABLE} names, can't be used: get "
            f"the file again, or unset the variable (google-auth says: {exc})"
        )
    file = _file()
    if file:
        return (
            f"the credentials in {str(file)!r} can't be used: get new ones with `{LOGIN}` "
            f"(google-auth says: {exc})"
        )
    return f"this machine's credentials can't be used (google-auth says: {exc})"
