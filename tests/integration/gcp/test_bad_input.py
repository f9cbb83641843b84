"""Bad input is refused when a session opens: with the option, a remedy, and nothing created."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from bigmachine.errors import BigmachineError, StartError, UsageError
from tests.support.gcp import first_use
from tests.support.gcp.gce import PROJECT, Gce
from tests.support.gcp.oauth import ACCOUNT

LINES = 8
"""How many lines of 80 columns a message has at most; Google's own may have five."""
WORKERS = f"workers@{PROJECT}.iam.gserviceaccount.com"
CHANGES = ("insert", "bulkInsert", "patch", "delete", "setLabels", "setMetadata")


@dataclass(frozen=True)
class Bad:
    """One kind of bad input, and parts of what is said of it."""

    id: str
    says: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    arrange: Callable[[Gce], Any] = lambda gce: None
    environ: Mapping[str, str | None] = field(default_factory=dict)
    error: type[BigmachineError] = StartError


def refused(refusal: first_use.Refusal, method: str = "*") -> Callable[[Gce], None]:
    return lambda gce: gce.refuse_always(method, refusal.error)


BAD = [
    Bad(
        "no credentials",
        ("there are no Google Cloud credentials: run `gcloud auth application-default login`",),
        {"endpoint_url": "", "zones": []},  # a region is missing, too
        environ={"GOOGLE_APPLICATION_CREDENTIALS": None},
    ),
    Bad(
        "deleted key",
        (f"Google rejects the key of {ACCOUNT}: it may be deleted or disabled; create another",),
        arrange=lambda gce: setattr(gce.oauth, "is_key_deleted", True),
    ),
    Bad(
        "disabled API",
        ("does not use the Compute Engine API yet: enable it with `gcloud services enable comp",),
        arrange=lambda gce: gce.access.disabled_apis.add("compute.googleapis.com"),
    ),
    Bad(
        "no billing",
        (f"no billing account pays for the project '{PROJECT}': link one at https://console",),
        arrange=lambda gce: setattr(gce.access, "has_billing", False),
    ),
    Bad(
        "unknown project",
        ("project: Google has no project 'no-such-project', or the credentials may not use it",),
        {"project": "no-such-project"},
        error=UsageError,
    ),
    Bad(
        "name of a project in place of its ID",
        ("project: must be a project's ID, like 'my-project-123456', not its name",),
        {"project": "My Project"},
        error=UsageError,
    ),
    Bad(
        "suspended project",
        (f"Google has suspended the project '{PROJECT}'",),
        arrange=refused(first_use.PROJECT_SUSPENDED),
    ),
    Bad(
        "zone in place of a region",
        ("region: must be a region, not a zone: 'us-central1', not 'us-central1-a'",),
        {"region": "us-central1-a", "zones": []},
        error=UsageError,
    ),
    Bad(
        "region in place of a zone",
        ("zones: must be zones, like 'us-central1-a', not a region: pass region='us-central1'",),
        {"zones": "us-central1"},
        error=UsageError,
    ),
    Bad(
        "unknown zone",
        ("zones: the region 'us-central1' has no zone 'us-central1-x' for the project",),
        {"zones": "us-central1-x"},
        error=UsageError,
    ),
    Bad(
        "unknown machine type",
        ("machine_type: ", "n2-standard-5"),
        {"machine_type": "n2-standard-5"},
        error=UsageError,
    ),
    Bad(
        "empty image family",
        ("image: ", "debian-99"),
        {"image": "projects/debian-cloud/global/images/family/debian-99"},
        error=UsageError,
    ),
    Bad(
        "service account without actAs",
        (f"service_account: {ACCOUNT} may not have instances act as {WORKERS}: have the role",),
        {"service_account": WORKERS},
        arrange=lambda gce: (
            gce.policies.accounts.add(WORKERS),
            setattr(gce.policies, "may_act_as", set()),
        ),
        error=UsageError,
    ),
    Bad(
        "missing permission",
        (f"{ACCOUNT} lacks the permission compute.regions.get in the project '{PROJECT}': have a",),
        arrange=lambda gce: gce.access.denied.add("compute.regions.get"),
    ),
    Bad(
        "service perimeter",
        ("VPC Service Controls of the organization forbid this from here: run the driver inside",),
        arrange=refused(first_use.PERIMETER),
    ),
    Bad(
        "label in capitals",
        ("labels: keys begin with a lowercase letter and have at most 63 lowercase letters",),
        {"labels": ["Team=ml"]},
        error=UsageError,
    ),
]


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_bad_input_is_refused_before_anything_is_created(gce, run, monkeypatch, bad):
    for name, value in bad.environ.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    bad.arrange(gce)

    async def test(kit):
        with pytest.raises(bad.error) as caught:
            await kit.setup()
        return str(caught.value)

    text = run(test, **bad.options)
    assert [part for part in bad.says if part not in text] == []
    assert "\n" not in text
    assert len(text) <= LINES * 80, len(text)
    assert [call.method for call in gce.asked if call.method.endswith(CHANGES)] == []
