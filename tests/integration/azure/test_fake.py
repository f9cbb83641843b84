"""The tests' Azure answers Azure's own SDK as Azure does."""

from __future__ import annotations

import pytest

from tests.integration.azure.sdk import QUICKLY, refused_code
from tests.support.schemas import REFUSED


@pytest.fixture
def groups(arm, client):
    return client("resources").resource_groups


def test_resource_group_is_made_listed_and_deleted(arm, groups, consistent):
    arm.groups.delete_seconds = 600.0
    made = groups.create_or_update("new", {"location": "West Europe"})
    assert (made.location, made.properties.provisioning_state) == ("westeurope", "Succeeded")
    poller = groups.begin_delete("NEW", **QUICKLY)
    create = groups.create_or_update
    assert refused_code(create, "new", {"location": "westeurope"}) == "ResourceGroupBeingDeleted"
    arm.advance(arm.groups.delete_seconds)
    poller.result()
    assert [of.name for of in groups.list()] == ["identities"]  # of the fixture
    assert refused_code(groups.get, "new") == "ResourceGroupNotFound"


def test_body_that_the_models_do_not_allow_is_refused_and_fails_the_test(groups):
    create = groups.create_or_update
    assert refused_code(create, "new", {"locaton": "westeurope"}) == "InvalidRequestContent"
    refused = [*REFUSED]
    REFUSED.clear()
    assert refused == [
        "resource_groups.create_or_update: body.location: is required",
        "resource_groups.create_or_update: body.locaton: is unknown",
    ]


def test_operation_that_the_fake_does_not_have_fails_the_test(arm, client):
    tags = client("resources").tags
    assert refused_code(tags.list().next) == "NotImplemented"
    assert "tagNames: the tests' Azure does not have it" in REFUSED.pop()


def test_locations_and_subscriptions_are_listed(arm, client):
    subscriptions = client("subscriptions").subscriptions
    assert [of.subscription_id for of in subscriptions.list()] == [arm.subscription]
    names = [of.name for of in subscriptions.list_locations(arm.subscription)]
    assert arm.location in names
