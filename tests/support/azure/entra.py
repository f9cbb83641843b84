"""Microsoft Entra ID for tests: who there is, and the access tokens that they are given.

Its endpoints are below the same URL as Resource Manager's, which `AZURE_AUTHORITY_HOST` names.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.support.azure.errors import ArmError

TENANT = "11111111-1111-4111-8111-111111111111"
OTHER_TENANT = "22222222-2222-4222-8222-222222222222"
CLIENT = "33333333-3333-4333-8333-333333333333"
"""The application (client) id of the driver's service principal."""
SECRET = "made-up-client-secret"
RESOURCE = "https://management.azure.com"
TOKEN_SECONDS = 3599.0


@dataclass(frozen=True)
class Principal:
    """Somebody who can have access: a service principal, a user, a managed identity."""

    id: str
    """The object id, which role assignments name."""
    name: str
    """As error messages name it: the client id, or a user's address."""
    client_id: str = ""
    tenant: str = TENANT


DRIVER = Principal("44444444-4444-4444-8444-444444444444", CLIENT, CLIENT)


@dataclass
class Entra:
    """The tenants, and the tokens that they have given."""

    now: Callable[[], float] = time.time
    url: str = ""
    tenants: set[str] = field(default_factory=lambda: {TENANT, OTHER_TENANT})
    secrets: dict[tuple[str, str], str] = field(default_factory=lambda: {(TENANT, CLIENT): SECRET})
    """Client secrets, by tenant and client id."""
    principals: dict[str, Principal] = field(default_factory=lambda: {CLIENT: DRIVER})
    """By client id, or by a user's address."""
    tokens: dict[str, tuple[Principal, float, str]] = field(default_factory=dict)
    """Whose a token is, when it expires, and the audience that it is for."""
    refused: dict[str, Any] = field(default_factory=dict)
    """What all token requests are answered, if anything: ``error`` and ``error_description``."""
    is_secret_expired: bool = False
    token_seconds: float = TOKEN_SECONDS
    issued: int = 0
    """How many tokens were asked for and given."""

    def issue(self, principal: Principal = DRIVER, *, audience: str = RESOURCE) -> str:
        """Return a new access token, whose claims are those that Entra's have."""
        expires = self.now() + self.token_seconds
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{principal.tenant}/",
            "exp": int(expires),
            "tid": principal.tenant,
            "oid": principal.id,
            "appid": principal.client_id,
        }
        parts = [{"typ": "JWT", "alg": "RS256"}, claims, secrets.token_hex(16)]
        token = ".".join(_base64(json.dumps(part)) for part in parts)
        self.tokens[token] = principal, expires, audience
        return token

    def principal_of(self, authorization: str) -> Principal:
        """Return whose request to Resource Manager has this header; raises what else it gets."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer" or not token:
            raise _unauthorized(
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            )
        if token not in self.tokens:
            raise _unauthorized("InvalidAuthenticationToken", "The access token is invalid.")
        principal, expires, audience = self.tokens[token]
        if self.now() > expires:
            raise _unauthorized(
                "ExpiredAuthenticationToken",
                "The access token expiry UTC time is earlier than current UTC time.",
            )
        if audience.rstrip("/") != RESOURCE:
            raise _unauthorized(
                "InvalidAuthenticationTokenAudience",
                "The access token has been obtained for wrong audience or resource "
                f"'{audience}'. It should exactly match with one of the allowed audiences "
                f"'{RESOURCE}'.",
            )
        return principal

    def check_tenant(self, principal: Principal, subscription: str, tenant: str) -> None:
        """Refuse somebody of another tenant than the subscription's."""
        if principal.tenant != tenant:
            # The text is that of Azure/azure-cli#11871 and of many questions.
            raise _unauthorized(
                "InvalidAuthenticationTokenTenant",
                f"The access token is from the wrong issuer 'https://sts.windows.net/"
                f"{principal.tenant}/'. It must match the tenant "
                f"'https://sts.windows.net/{tenant}/' associated with this subscription. Please "
                "use the authority (URL) "
                f"'https://login.windows.net/{tenant}' to get the token.",
            )

    def is_asked(self, path: str) -> bool:
        """Whether a request is for Entra and not for Resource Manager."""
        return "/oauth2/" in path or "/.well-known/" in path or path.startswith("/common/")

    def answer(self, verb: str, path: str, body: bytes) -> tuple[int, Any]:
        """Answer a request: status and content."""
        tenant = path.strip("/").partition("/")[0]
        if tenant not in self.tenants:
            text = (
                f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID "
                "and are signing into the correct cloud."
            )
            return 400, self._error("invalid_tenant", 90002, text)
        root = f"{self.url}/{tenant}"
        if path.endswith("/v2.0/.well-known/openid-configuration"):
            return 200, {
                "token_endpoint": f"{root}/oauth2/v2.0/token",
                "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
                "issuer": f"{root}/v2.0",
            }
        if verb == "POST" and path.endswith("/oauth2/v2.0/token"):
            return self._token(tenant, {k: v[0] for k, v in parse_qs(body.decode()).items()})
        return 404, self._error("invalid_request", 900144, f"{verb} {path}")

    def _token(self, tenant: str, given: Mapping[str, str]) -> tuple[int, Any]:
        client = given.get("client_id", "")
        if self.refused:
            return 401, dict(self.refused)
        if given.get("grant_type") != "client_credentials":
            text = f"The app requested an unsupported grant type '{given.get('grant_type')}'."
            return 400, self._error("unsupported_grant_type", 70003, text)
        if (tenant, client) not in self.secrets:
            text = f"Application with identifier '{client}' was not found in the directory."
            return 400, self._error("unauthorized_client", 700016, text)
        if self.secrets[tenant, client] != given.get("client_secret"):
            text = f"Invalid client secret provided for app '{client}'."
            return 401, self._error("invalid_client", 7000215, text)
        if self.is_secret_expired:
            text = f"The provided client secret keys for app '{client}' are expired."
            return 401, self._error("invalid_client", 7000222, text)
        audience, _, default = given.get("scope", "").rpartition("/")
        if default != ".default":
            text = f"The provided value for scope {given.get('scope')} is not valid."
            return 400, self._error("invalid_scope", 1002012, text)
        self.issued += 1
        return 200, {
            "token_type": "Bearer",
            "expires_in": int(self.token_seconds),
            "ext_expires_in": int(self.token_seconds),
            "access_token": self.issue(self.principals[client], audience=audience),
        }

    def _error(self, error: str, number: int, text: str) -> dict[str, Any]:
        ids = "Trace ID: 0 Correlation ID: 0 Timestamp: 2026-01-01 00:00:00Z"
        return {
            "error": error,
            "error_description": f"AADSTS{number}: {text} {ids}",
            "error_codes": [number],
        }


def _unauthorized(code: str, text: str) -> ArmError:
    challenge = (
        f'Bearer authorization_uri="https://login.windows.net/{TENANT}", error="invalid_token"'
    )
    return ArmError(401, code, text, headers={"WWW-Authenticate": challenge})


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
