"""What to do about credentials that Google rejects, or that google-auth can't renew."""

from __future__ import annotations

from bigmachine.cloud import clock_advice

from ._errors import GcpError

LOGIN = "gcloud auth application-default login"


def credentials_advice(error: GcpError) -> str:
    """Return what to do. A code may have several causes, so the certain ones come first.

    The texts of RefreshError are those of Google's token service: googleapis/
    google-auth-library-python issues 742 and 1142, google-github-actions/auth issue 250.
    """
    text = error.message
    if advice := clock_advice(error.clock_skew, "Google"):
        return advice
    if "reasonable timeframe" in text:
        return "this computer's clock is wrong, and Google rejects its tokens: set it right"
    if "impersonated credentials" in text:
        return (
            "the service account can't be impersonated: have the role 'Service Account Token "
            "Creator' (roles/iam.serviceAccountTokenCreator) on it granted to you, and the IAM "
            "Service Account Credentials API enabled in its project"
        )
    if "computeMetadata" in text or "metadata.google.internal" in text:
        return (
            "this instance has no service account, so that it has no credentials: give it one, or "
            "set GOOGLE_APPLICATION_CREDENTIALS"
        )
    if "Reauthentication" in text or "rapt" in text:
        return (
            f"your organization requires you to sign in to Google again: run `{LOGIN}`. For "
            f"sessions that run longer than it allows, use a service account"
        )
    if "Invalid JWT Signature" in text or "account not found" in text:
        return f"{_key_of(error)} does not exist any more: create another key, or run `{LOGIN}`"
    if "Account restricted" in text or "access_denied" in text or "admin_policy" in text:
        return (
            "a policy of your organization denies access to Google Cloud from here: ask its "
            "administrator"
        )
    if "invalid_grant" in text and not error.account:
        return f"the Google credentials have expired or were revoked: run `{LOGIN}`"
    if not error.is_response:
        return f"the Google credentials can't be renewed: correct what it says, or run `{LOGIN}`"
    if error.account:
        return (
            f"Google rejects {_key_of(error)}: it may be deleted or disabled; create another key, "
            f"or run `{LOGIN}` and unset GOOGLE_APPLICATION_CREDENTIALS"
        )
    return f"Google rejects the credentials: renew them with `{LOGIN}`"


def _key_of(error: GcpError) -> str:
    return f"the key of {error.account}" if error.account else "the service account's key"
