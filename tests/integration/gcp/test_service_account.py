"""A service account that instances can't act as is refused before anything is purchased."""

from __future__ import annotations

import pytest

from bigmachine.errors import UsageError
from bigmachine_gcp.plan._service_account import _project_of, check_service_account
from tests.support.gcp.gce import PROJECT

EMAIL = f"workers@{PROJECT}.iam.gserviceaccount.com"


@pytest.fixture
def check(gce, run):
    """Check a service account, and return the accounts that Google was asked about."""

    def check(email):
        async def main(kit):
            api = kit.api
            try:
                await check_service_account(api, kit.options)
            finally:
                await api.close()

        run(main, service_account=email)
        return [call.resource for call in gce.asked if call.method.startswith("iam.")]

    return check


def test_account_that_may_be_used_is_accepted(gce, check):
    gce.policies.accounts.add(EMAIL)
    assert check(EMAIL) == [f"projects/{PROJECT}/serviceAccounts/{EMAIL}"]


def test_default_account_is_that_of_the_project(gce, check):
    assert check("default") == [f"projects/{PROJECT}/serviceAccounts/{gce.default_account}"]


def test_account_is_looked_up_in_its_own_project(gce, check):
    email = "a@other-project.iam.gserviceaccount.com"
    gce.policies.accounts.add(email)
    assert check(email) == [f"projects/other-project/serviceAccounts/{email}"]


@pytest.mark.parametrize(
    ("email", "project"),
    [
        ("a@my-project.example.com.iam.gserviceaccount.com", "example.com:my-project"),
        ("1-compute@developer.gserviceaccount.com", ""),
    ],
)
def test_address_of_an_account_tells_its_project(email, project):
    assert _project_of(email) == project


def test_account_that_does_not_exist_is_refused(check):
    with pytest.raises(UsageError, match=f"service_account: {EMAIL} does not exist: name another"):
        check(EMAIL)


def test_account_without_the_right_to_act_as_it_is_refused(gce, check):
    gce.policies.accounts.add(EMAIL)
    gce.policies.may_act_as = set()
    with pytest.raises(UsageError, match=r"act as workers@.*'Service Account User' \(roles/iam\."):
        check(EMAIL)


def test_missing_default_account_is_refused(gce, check):
    gce.edit("projects.get", lambda project: {**project, "defaultServiceAccount": ""})
    with pytest.raises(UsageError, match="has no default service account: name one, or omit it"):
        check("default")


def test_account_is_accepted_where_google_cannot_tell(gce, check):
    gce.access.disabled_apis.add("iam.googleapis.com")
    assert len(check(EMAIL)) == 1


def test_nothing_is_asked_without_an_account(gce, check):
    assert check("") == []
    assert gce.asked == []
