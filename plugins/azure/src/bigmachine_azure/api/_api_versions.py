"""Versions of Azure's API: the SDK's, or the newest older one that a cloud has.

The SDK sends the newest version. The clouds of China and of the US government get it months later
(azure-cli issue 23985, azure-sdk-for-python issue 1023).
"""

from __future__ import annotations

import logging
import re
import urllib.parse
from typing import Any

logger = logging.getLogger("bigmachine.azure")

_REFUSED = (400, 404)
# "No registered resource provider found for location 'chinaeast' and API version '2021-02-01' for
# type 'servers/databases'. The supported api-versions are '2014-04-01, 2014-04-01-preview'. …"; or
# "The resource type 'virtualMachines' could not be found in the namespace 'Microsoft.Compute' for
# api version '2016-08-30'. The supported api-versions are '2015-06-15,2016-03-30'."
_SUPPORTED = re.compile(r"supported api-versions are '([^']+)'", re.I)
_STABLE = re.compile(r"\d{4}-\d\d-\d\d")
_PARAMETER = re.compile(r"(?<=[?&]api-version=)[^&]+")


class ApiVersions:
    """A policy of the SDK's pipeline: sends a request again in a version that the cloud has.

    What was learned of a type of resources is kept.
    """

    def __init__(self) -> None:
        self.next: Any = None  # the pipeline sets it; the SDK's types are not known to mypy
        self._learned: dict[str, str] = {}

    def send(self, request: Any) -> Any:
        """Send a request, and return the response."""
        http = request.http_request
        kind = _kind(http.url)
        if kind in self._learned:
            http.url = _PARAMETER.sub(self._learned[kind], http.url)
        response = self.next.send(request)
        version = _older_version(http.url, response.http_response)
        if not version:
            return response
        logger.info("%s is used in version %s, the newest here", kind, version)
        self._learned[kind] = version
        http.url = _PARAMETER.sub(version, http.url)
        return self.next.send(request)


def _kind(url: str) -> str:
    """Return the type of the resources that a URL is about, as microsoft.network/publicips."""
    _, _, rest = urllib.parse.urlsplit(url).path.lower().rpartition("/providers/")
    provider, *parts = rest.strip("/").split("/")
    return "/".join([provider, *parts[::2]])


def _older_version(url: str, response: Any) -> str:
    """Return the version to use instead; "" if the response is about something else."""
    sent = _PARAMETER.search(url)
    if response.status_code not in _REFUSED or sent is None:
        return ""
    response.read()
    found = _SUPPORTED.search(response.text())
    known = re.split(r"[\s,]+", found[1]) if found else []
    return max((each for each in known if _STABLE.fullmatch(each) and each < sent[0]), default="")
