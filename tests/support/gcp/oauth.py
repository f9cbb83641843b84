"""Google's OAuth: access tokens for service accounts and for users, and the files of credentials.

google-auth signs its own tokens for service accounts ("self-signed JWTs"), which Google's APIs
accept in place of access tokens; so they are accepted here.
"""

from __future__ import annotations

import functools
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from tests.support.gcp.errors import ERROR_INFO, GceError

ACCOUNT = "bigmachine@bigmachine-tests.iam.gserviceaccount.com"
USER = "somebody@example.com"
KEY_ID = "0123456789abcdef0123456789abcdef01234567"
REFRESH_TOKEN = "made-up-refresh-token"


@functools.cache
def private_key() -> str:
    """Return a made-up key, in PEM, the same in all of this process.

    It has half of the length of Google's: each session checks whether it is a key.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@functools.cache
def _public_key() -> bytes:
    key = serialization.load_pem_private_key(private_key().encode(), None)
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@dataclass
class OAuth:
    """Whom the tests' Google knows, and the tokens it has given."""

    project: str
    account: str = ACCOUNT
    """Whose key `write_key` writes."""
    tokens: dict[str, str] = field(default_factory=dict)
    """Accounts by their access tokens."""
    denied: dict[str, str] = field(default_factory=dict)
    """What token requests are refused with: ``error`` and ``error_description``, if anything."""
    is_key_deleted: bool = False

    def issue(self, account: str = ACCOUNT) -> str:
        """Return a new access token of an account."""
        token = f"ya29.{secrets.token_hex(16)}"
        self.tokens[token] = account
        return token

    def account_of(self, authorization: str) -> str:
        """Return whose request has this header; raises the answer to one that nobody signed."""
        scheme, _, token = authorization.partition(" ")
        if scheme == "Bearer" and token in self.tokens:
            return self.tokens[token]
        if scheme == "Bearer" and token.count(".") == 2 and not self.is_key_deleted:
            try:
                return str(jwt.decode(token, certs={KEY_ID: _public_key()})["iss"])
            except ValueError:
                pass
        raise _unauthenticated(is_missing=not authorization)

    def answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Answer a request of the token endpoint: status and content."""
        if self.denied:
            return 400, dict(self.denied)
        given = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        grant = given.get("grant_type", "")
        if grant == "refresh_token" and given.get("refresh_token") == REFRESH_TOKEN:
            return 200, self._answer(USER)
        if grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            try:
                claims = jwt.decode(given["assertion"], certs={KEY_ID: _public_key()})
            except (KeyError, ValueError):
                claims = None
            if claims and not self.is_key_deleted:
                return 200, self._answer(claims["iss"])
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        return 400, {"error": "invalid_grant", "error_description": "Bad Request"}

    def write_key(self, path: Path, url: str, **changes: Any) -> Path:
        """Write the file of a service account's key, whose tokens come from that URL."""
        content = {
            "type": "service_account",
            "project_id": self.project,
            "private_key_id": KEY_ID,
            "private_key": private_key(),
            "client_email": self.account,
            "client_id": "100000000000000000001",
            "token_uri": f"{url}/token",
            "universe_domain": "googleapis.com",
            **changes,
        }
        path.write_text(json.dumps(content))
        return path

    def write_user(self, path: Path, url: str, **changes: Any) -> Path:
        """Write what ``gcloud auth application-default login`` writes for a user."""
        content = {
            "type": "authorized_user",
            "client_id": "made-up.apps.googleusercontent.com",
            "client_secret": "made-up",
            "refresh_token": REFRESH_TOKEN,
            "token_uri": f"{url}/token",
            "universe_domain": "googleapis.com",
            **changes,
        }
        path.write_text(json.dumps(content))
        return path

    def _answer(self, account: str) -> dict[str, Any]:
        return {"access_token": self.issue(account), "expires_in": 3599, "token_type": "Bearer"}


def _unauthenticated(*, is_missing: bool) -> GceError:
    reason = "CREDENTIALS_MISSING" if is_missing else "ACCESS_TOKEN_TYPE_UNSUPPORTED"
    first = "Request is missing required" if is_missing else "Request had invalid"
    return GceError(
        401,
        "required" if is_missing else "authError",
        f"{first} authentication credential. Expected OAuth 2 access token, login cookie or other "
        "valid authentication credential. See "
        "https://developers.google.com/identity/sign-in/web/devconsole-project.",
        details=[
            {
                "@type": ERROR_INFO,
                "reason": reason,
                "domain": "googleapis.com",
                "metadata": {"service": "compute.googleapis.com"},
            }
        ],
    )
