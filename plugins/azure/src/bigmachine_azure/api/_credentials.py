"""Credentials as azure-identity finds them (DefaultAzureCredential), and the cloud they are for."""

from __future__ import annotations

import logging
import os
import threading
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any

from bigmachine.cloud import quiet
from bigmachine.errors import StartError

from ._az_cli import az_cloud

logger = logging.getLogger("bigmachine.azure")

_REFRESH_SECONDS = 300.0  # a token is renewed so long before its end, as the SDK does
# What azure-identity knows as authorities; of another, as of an emulator, it would ask Microsoft.
_AUTHORITIES = ("login.microsoftonline.com", "login.chinacloudapi.cn", "login.microsoftonline.us")
_CHAIN_LOGGER = "azure.identity._credentials.chained"
_AUTHORITY_VARIABLE = "AZURE_AUTHORITY_HOST"


@dataclass(frozen=True, slots=True)
class Cloud:
    """One of Azure's clouds, each with its own accounts; most users have the public one."""

    name: str
    """As the az command names it."""
    authority: str
    """Where its users sign in."""
    resource_manager: str
    """The URL of its Azure Resource Manager."""
    scope: str
    """The scope of a token for that."""


_CLOUDS = (  # of azure.mgmt.core.tools.get_arm_endpoints and azure.identity.AzureAuthorityHosts
    Cloud(
        "AzureCloud",
        "login.microsoftonline.com",
        "https://management.azure.com",
        "https://management.azure.com/.default",
    ),
    Cloud(
        "AzureChinaCloud",
        "login.chinacloudapi.cn",
        "https://management.chinacloudapi.cn",
        "https://management.chinacloudapi.cn/.default",
    ),
    Cloud(
        "AzureUSGovernment",
        "login.microsoftonline.us",
        "https://management.usgovcloudapi.net",
        "https://management.core.usgovcloudapi.net/.default",
    ),
)
_SDK_NAMES = {"AZURE_CHINA_CLOUD": "AzureChinaCloud", "AZURE_US_GOVERNMENT": "AzureUSGovernment"}


def find_cloud() -> Cloud:
    """Return the cloud that the environment names, else the one that az uses, else the public one.

    By AZURE_AUTHORITY_HOST, as azure-identity needs it for another cloud; AZURE_SDK_CLOUD_CONF, as
    the SDK reads it; or `az cloud set`.
    """
    authority = _authority_host()
    name = _SDK_NAMES.get(os.environ.get("AZURE_SDK_CLOUD_CONF", ""), "")
    for cloud in _CLOUDS:
        if cloud.authority == authority:
            return cloud
    name = name or az_cloud()
    return next((cloud for cloud in _CLOUDS if cloud.name == name), _CLOUDS[0])


class Credentials:
    """One user's tokens: a credential for the SDK that keeps each until shortly before its end.

    azure-identity would run `az` for each of several requests at the same time.
    """

    def __init__(self, value: Any) -> None:
        self._value = value  # Any: azure-identity is imported late
        self._tokens: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()
        self.tenant = ""
        """The tenant to sign in to, if it is not the one that the credentials have by default."""

    def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        """Return a token, as the SDK's protocol SupportsTokenInfo wants it."""
        with self._lock:
            token = self._tokens.get(scopes)
            # With options, Azure rejects the token: it needs one with other claims.
            if options or token is None or token.expires_on < time.time() + _REFRESH_SECONDS:
                given = {"tenant_id": self.tenant} if self.tenant else {}
                with quiet(_CHAIN_LOGGER, logging.WARNING):  # the error says the same
                    token = self._value.get_token_info(*scopes, options=given | (options or {}))
                self._tokens[scopes] = token
            return token

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """Return a token, as the SDK's protocol TokenCredential wants it."""
        from azure.core.credentials import AccessToken

        info = self.get_token_info(*scopes, options=options)
        return AccessToken(info.token, info.expires_on)

    def forget(self) -> None:
        """Forget all tokens: Azure rejects one of them."""
        with self._lock:
            self._tokens.clear()

    def close(self) -> None:
        """Close the connections of azure-identity."""
        self._value.close()


def find_credentials(cloud: Cloud) -> Credentials:
    """Return the credentials that DefaultAzureCredential finds. No request is sent yet.

    Raises `StartError`, for users.
    """
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as exc:  # not after a regular installation
        raise StartError("system 'azure' needs azure-identity: pip install azure-identity") from exc
    more: dict[str, Any] = {}
    host = _authority_host()
    if not host:
        more["authority"] = f"https://{cloud.authority}"
    elif host not in _AUTHORITIES:
        more["disable_instance_discovery"] = True
    try:
        return Credentials(DefaultAzureCredential(**more))
    except ValueError as exc:  # of AZURE_TOKEN_CREDENTIALS, AZURE_TENANT_ID, AZURE_AUTHORITY_HOST
        raise StartError(
            f"the environment has wrong settings for Azure's credentials: {exc}"
        ) from exc


def _authority_host() -> str:
    """Return the host of AZURE_AUTHORITY_HOST, which may be a URL; "" if it is not set."""
    given = os.environ.get(_AUTHORITY_VARIABLE, "")
    return urllib.parse.urlsplit(given if "//" in given else f"//{given}").netloc.lower()
