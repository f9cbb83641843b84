"""Requests to the tests' Compute Engine without Google's client, which takes seconds to import."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode

from tests.support.gcp.gce import Gce

IMAGE = "projects/debian-cloud/global/images/family/debian-12"


class Rest:
    """A user of the API, who has a token of one account."""

    def __init__(self, gce: Gce, *, token: str = "") -> None:
        self.gce = gce
        self.token = token or gce.oauth.issue()
        self.headers: dict[str, str] = {}

    def __call__(self, verb: str, path: str, body: Any = None, **query: Any) -> Any:
        """Return an answer's content; raises `AssertionError` if it is an error."""
        status, answer = self.ask(verb, path, body, **query)
        assert status == 200, answer
        return answer

    def ask(self, verb: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        """Return an answer, which may be an error: status and content.

        ``path`` is below the project, or from the root if it begins with a slash.
        """
        below = f"/compute/v1/projects/{self.gce.project}/{path}".rstrip("/")
        url = self.gce.url + (path if path.startswith("/") else below)
        request = urllib.request.Request(
            f"{url}?{urlencode(query, quote_via=quote)}" if query else url,
            method=verb,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", **self.headers},
        )
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def refused(self, verb: str, path: str, body: Any = None, **query: Any) -> tuple[int, str, str]:
        """Return status, reason and message of an error."""
        status, answer = self.ask(verb, path, body, **query)
        [error] = answer["error"]["errors"]
        return status, error["reason"], error["message"]

    def finish(self, operation: Any) -> Any:
        """Wait for an operation, and return it."""
        while operation["status"] != "DONE":
            operation = self("POST", self.gce.relative(operation["selfLink"]) + "/wait")
        return operation

    def insert(self, zone: str = "us-central1-a", **fields: Any) -> Any:
        """Insert an instance, and return its operation when it is done."""
        return self.finish(self("POST", f"zones/{zone}/instances", instance(zone, **fields)))


def instance(zone: str = "us-central1-a", **fields: Any) -> dict[str, Any]:
    """Return an instance as ``instances.insert`` wants it, by default called vm-1."""
    return {
        "name": "vm-1",
        "machineType": f"zones/{zone}/machineTypes/n2-standard-2",
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": IMAGE}}],
        "networkInterfaces": [
            {"network": "global/networks/default", "accessConfigs": [{"type": "ONE_TO_ONE_NAT"}]}
        ],
        **fields,
    }
