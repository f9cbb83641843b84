"""Each refusal of Google becomes an error that says what to do next."""

from __future__ import annotations

import pytest

from bigmachine.errors import StartError, UsageError
from bigmachine_gcp.api._advice import explain, missing_permission
from bigmachine_gcp.api._errors import GcpError
from tests.support.gcp import first_use as r
from tests.support.gcp.errors import GceError, OperationError
from tests.support.gcp.oauth import ACCOUNT

NAMES = {id(value): name for name, value in vars(r).items() if isinstance(value, r.Refusal)}
ROLE = "such as 'Compute Admin' (roles/compute.admin)"


@pytest.fixture
def error_of(gce, run, consistent, monkeypatch):
    """Return the error that a refusal of the fake becomes."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)

    def error_of(refusal):
        async def main(kit):
            api = kit.api
            try:
                with pytest.raises(GcpError) as caught:
                    await send(gce, api, refusal, monkeypatch)
                return caught.value
            finally:
                await api.close()

        return run(main)

    return error_of


async def send(gce, api, error, monkeypatch):
    if isinstance(error, GceError):
        gce.refuse_always("zones.get", error)
        await api.read("zones.get", zone="us-central1-a")
        return

    def handler(call):
        def finish():
            raise error

        return gce.operations.begin(call, "global", "insert", "global/firewalls/x", finish=finish)

    monkeypatch.setitem(gce._handlers, "firewalls.insert", handler)
    rule = {"name": "bm-test", "source_tags": ["bm-test"], "allowed": [{"I_p_protocol": "tcp"}]}
    await api.change_and_wait("firewalls.insert", firewall_resource=rule)


@pytest.mark.parametrize(
    ("refusal", "kind", "says"),
    [
        (r.BILLING_OFF, StartError, "no billing account pays for the project 'bigmachine-tests'"),
        (r.PROJECT_DELETED, UsageError, "project: Google has no project 'bigmachine-tests', or"),
        (r.PROJECT_OF_OTHERS, UsageError, "or the credentials may not use it: list yours"),
        (r.UNKNOWN_PROJECT, UsageError, "with `gcloud projects list`, or use other credentials"),
        (r.PROJECT_SUSPENDED, StartError, "Google has suspended the project 'bigmachine-tests'"),
        (
            r.QUOTA_PROJECT,
            StartError,
            "roles/serviceusage.serviceUsageConsumer granted on other-project, or set another "
            "with `gcloud auth application-default set-quota-project bigmachine-tests`",
        ),
        (r.PERIMETER, StartError, "VPC Service Controls of the organization forbid this from here"),
        (r.NO_SCOPE, StartError, f"the access scopes of {ACCOUNT} don't include Compute Engine"),
        (
            r.NO_PERMISSION,
            StartError,
            f"{ACCOUNT} lacks the permission compute.instances.create in the project "
            f"'bigmachine-tests': have a role granted that includes it, {ROLE}",
        ),
        (r.NO_PROJECTS_GET, StartError, "is not your project's ID, correct the option project"),
        (r.BAD_SCOPES, UsageError, "scopes: Google rejects them: pass others, or omit them"),
        (r.NO_ACT_AS, UsageError, "service_account: .* 'Service Account User'"),
        (r.NO_EXTERNAL_ADDRESS, UsageError, "public_address: .*pass public_address=False, and run"),
        (r.NOT_SHIELDED, UsageError, "secure_boot: .*pass secure_boot=True"),
        (r.SEVERAL_CONSTRAINTS, UsageError, "constraints/compute.vmExternalIpAccess violated"),
        (r.LOCATION, UsageError, "region: .*gcp.resourceLocations: .*pass one that it allows"),
        (r.CUSTOM_CONSTRAINT, StartError, "policy custom.smallOnly forbids this: ask the"),
        (r.RATE_LIMIT, StartError, "throttles the requests of the project 'bigmachine-tests'"),
        (
            r.REGION_QUOTA,
            StartError,
            "the quota CPUS of the project 'bigmachine-tests', 8 for us-east1, is used up: request "
            "an increase at .*/iam-admin/quotas?project=bigmachine-tests",
        ),
        (r.GPU_QUOTA, StartError, "the quota GPUS_ALL_REGIONS .*, 0 for all regions, is used up"),
        (r.ADDRESS_QUOTA, StartError, "IN_USE_ADDRESSES .*or pass public_address=False"),
        (
            r.FAMILY_QUOTA,
            StartError,
            "CPUS-PER-VM-FAMILY-per-project-region .*, 24 for region us-central1, vm_family C4",
        ),
        (r.STOCKOUT, StartError, "no such instances just now: try again later, or name more"),
        (r.UNKNOWN_ZONE, UsageError, "zones: Google has no such zone; list all with"),
        (r.UNKNOWN_REGION, UsageError, "region: Google has no such region; list all with"),
        (r.NO_SUBNETWORK, UsageError, "subnetwork: .*a network in custom mode needs one"),
        (r.UNKNOWN_SUBNETWORK, UsageError, "subnetwork: Google rejects it"),
        (r.INCOMPATIBLE_DISK, UsageError, "disk_type: the machine type can't have such a disk"),
        (
            r.NO_KEY,
            UsageError,
            "kms_key: .*add-iam-policy-binding projects/p/locations/global/keyRings/r/cryptoKeys/k "
            "--role=roles/cloudkms.cryptoKeyEncrypterDecrypter",
        ),
        (r.BAD_LABEL, UsageError, "labels: Google rejects them: use lowercase letters"),
        (r.UNKNOWN_IMAGE, UsageError, "image: Google rejects it: pass another one, or omit it"),
    ],
    ids=lambda value: NAMES.get(id(value), ""),
)
def test_refusal_says_what_to_do_next(error_of, refusal, kind, says):
    error = error_of(refusal.error)
    explained = explain(error)
    assert type(explained) is kind
    parts = says.split(".*")
    assert [part for part in parts if part not in str(explained)] == []
    assert f"Google answered {error.code}: {refusal.error.message[:60]}" in str(explained)
    assert error.is_outcome_unknown is False


def test_disabled_api_is_named_with_the_command_that_enables_it(gce, run):
    async def main(kit):
        api = kit.api
        gce.access.disabled_apis.add("compute.googleapis.com")
        with pytest.raises(GcpError) as caught:
            await api.read("zones.get", zone="us-central1-a")
        await api.close()
        return explain(caught.value)

    text = str(run(main))
    assert "`gcloud services enable compute.googleapis.com --project 123456789012`" in text
    assert "https://console.developers.google.com/apis/api/compute.googleapis.com/overview" in text
    assert "wait some minutes" in text


def test_missing_permission_is_told_for_roles(error_of):
    error = error_of(r.NO_PERMISSION.error)
    assert missing_permission(error) == "compute.instances.create"
    assert missing_permission(GcpError("a", "notFound", "", status=404)) is None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OperationError("INTERNAL_ERROR", "Internal error."), "failed: Google answered INTERNAL"),
        (GceError(400, "badRequest", "No."), "compute.zones.get failed: Google answered badReq"),
    ],
)
def test_unknown_refusal_is_told_as_it_is(error_of, error, says):
    found = error_of(error)
    assert says in str(explain(found))
    assert (found.is_temporary, found.is_outcome_unknown) == (False, False)


@pytest.mark.parametrize(
    ("message", "is_billing"),
    [
        ("Project p (#1) has billing disabled. Please enable it.", True),
        ("This API method requires billing to be enabled. Please enable billing", True),
        ("Billing must be enabled for activation of service(s) 'compute.googleapis.com'", True),
        ("Billing is not enabled for project p", True),
        ("The billing account for the owning project is disabled in state absent", True),
        ("Cloud Billing API has not been used in project 1 before or it is disabled.", False),
        ("Required 'billing.accounts.get' permission for 'billingAccounts/1'", False),
    ],
)
def test_billing_that_is_off_is_told_from_the_billing_api(message, is_billing):
    assert GcpError("a", "forbidden", message, status=403).is_billing_disabled is is_billing
