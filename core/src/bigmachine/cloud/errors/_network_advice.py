"""What to do if a provider can't be reached from here."""

from __future__ import annotations

from ._cloud_error import CloudError


def network_advice(error: CloudError, provider: str) -> str:
    """Return what to do about an error of the way to a provider, such as ``"Azure"``.

    Codes of such errors are the backend's own: ``SSLError``, ``ProxyError``, ``InvalidResponse``
    for an answer that is no provider's, ``ReadTimeout``; any other means that nobody was reached.
    The advice is for SDKs that send their requests with the library requests, and for botocore.
    """
    if error.code == "SSLError" or "CERTIFICATE_VERIFY_FAILED" in error.message:
        return (
            f"{provider}'s certificate can't be verified: set the clock right; and behind a proxy "
            f"that inspects TLS, set REQUESTS_CA_BUNDLE to the file of its certificate authority"
        )
    if error.code == "ProxyError":
        return "the proxy can't be used: correct HTTPS_PROXY, or unset it"
    if error.code == "InvalidResponse":
        return (
            f"something on the way answers in {provider}'s place: sign in to this network, and "
            f"check HTTPS_PROXY if it is set"
        )
    if error.code == "ReadTimeout":
        return f"{provider} does not answer: check the internet connection, and try again later"
    return (
        f"{provider} can't be reached: check the internet connection, and HTTPS_PROXY if it is set"
    )
