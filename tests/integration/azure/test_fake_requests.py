"""The tests' Azure answers requests as Resource Manager does: tokens, throttling, operations."""

from __future__ import annotations

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceResponseError

from tests.integration.azure.sdk import QUICKLY, refused_code
from tests.support.azure.entra import CLIENT, OTHER_TENANT, SECRET, TENANT, Principal
from tests.support.schemas import REFUSED


@pytest.fixture
def resources(arm, client):
    return client("resources")


@pytest.fixture
def ask(arm):
    """Send a request, without the SDK; a path is below the subscription."""
    import requests  # as late as the SDK

    def ask(verb, path):
        url = path if "://" in path else f"{arm.url}/subscriptions/{arm.subscription}{path}"
        headers = {"Authorization": f"Bearer {arm.entra.issue()}"}
        return requests.request(verb, url, headers=headers, timeout=30)

    return ask


def error_of(call, *args, **keywords):
    with pytest.raises(HttpResponseError) as caught:
        call(*args, **keywords)
    return caught.value


@pytest.mark.parametrize(
    ("tenant", "client_id", "secret", "text"),
    [
        ("33333333-0000-4000-8000-000000000000", CLIENT, SECRET, "authority configuration"),
        (TENANT, "no-such-client", SECRET, "AADSTS700016"),
        (TENANT, CLIENT, "wrong", "AADSTS7000215"),
    ],
)
def test_entra_refuses_wrong_tenants_clients_and_secrets(arm, tenant, client_id, secret, text):
    from azure.identity import ClientSecretCredential  # late, as in `client`

    options = {"authority": arm.url, "disable_instance_discovery": True}
    credential = ClientSecretCredential(tenant, client_id, secret, **options)
    with credential, pytest.raises((ClientAuthenticationError, ValueError), match=text):
        credential.get_token("https://management.azure.com/.default")


def test_expired_token_and_token_of_another_tenant_are_unauthorized(arm, resources):
    groups = resources.resource_groups.list
    assert len([*groups()]) == 1
    for token, (principal, _, audience) in arm.entra.tokens.items():
        arm.entra.tokens[token] = (principal, 0.0, audience)
    assert refused_code(groups().next) == "ExpiredAuthenticationToken"
    for token, (_, _, audience) in arm.entra.tokens.items():
        other = Principal("x", CLIENT, CLIENT, OTHER_TENANT)
        arm.entra.tokens[token] = (other, float("inf"), audience)
    assert refused_code(groups().next) == "InvalidAuthenticationTokenTenant"


def test_unknown_and_disabled_subscriptions_are_refused(arm, client, resources):
    unknown = "66666666-6666-4666-8666-666666666666"
    get = client("subscriptions").subscriptions.get
    assert refused_code(get, unknown) == "SubscriptionNotFound"
    arm.places.states[arm.subscription] = "Disabled"
    assert len([*resources.resource_groups.list()]) == 1  # one may look
    create = resources.resource_groups.create_or_update
    code = refused_code(create, "new", {"location": arm.location})
    assert code == "ReadOnlyDisabledSubscription"


def test_provider_must_be_registered_which_takes_a_while(arm, resources, ask):
    arm.places.registrations["Microsoft.Network"] = "NotRegistered"
    path = "/providers/Microsoft.Network/virtualNetworks?api-version=2026-03-01"
    answer = ask("GET", path)
    assert answer.status_code == 409
    [detail] = answer.json()["error"]["details"]
    assert (detail["code"], detail["target"]) == (
        "MissingSubscriptionRegistration",
        "Microsoft.Network",
    )
    arm.places.register_seconds = 60.0
    register = resources.providers.register
    assert register("Microsoft.Network").registration_state == "Registering"
    assert ask("GET", path).status_code == 409
    arm.advance(60)
    assert ask("GET", path).json() == {"value": []}


def test_too_many_requests_are_throttled_and_told_when_to_come_back(arm, resources, consistent):
    arm.throttles.of_principal["reads"] = (2.0, 0.5)
    groups = resources.resource_groups
    for _ in range(2):
        assert refused_code(groups.get, "none") == "ResourceGroupNotFound"
    error = error_of(groups.get, "none")
    assert (error.status_code, error.error.code) == (429, "SubscriptionRequestsThrottled")
    assert error.response.headers["Retry-After"] == "2"
    assert error.response.headers["x-ms-ratelimit-remaining-subscription-reads"] == "0"
    arm.advance(2)
    assert refused_code(groups.get, "none") == "ResourceGroupNotFound"


def test_operation_is_found_only_by_its_signed_url(arm, resources, ask):
    arm.groups.add("rg")
    poller = resources.resource_groups.begin_delete("rg", **QUICKLY)
    url = poller.polling_method()._initial_response.http_response.headers["Location"]
    assert len(url) > 1000
    poller.result()
    assert ask("GET", url.replace("t=", "t=x")).status_code == 403


def test_version_that_azure_does_not_have_fails_the_test(arm, ask):
    path = "/providers/Microsoft.Compute/disks?api-version=2026-04-01"  # that of machines
    assert ask("GET", path).json()["error"]["code"] == "NoRegisteredProviderFound"
    assert "API version '2026-04-01' for type 'disks'" in REFUSED.pop()
    assert ask("GET", "").json()["error"]["code"] == "MissingApiVersionParameter"
    assert "api-version query parameter" in REFUSED.pop()


def test_lost_answer_is_a_503_and_the_change_is_made(arm, resources):
    arm.lose_answer("resource_groups.create_or_update")
    create = resources.resource_groups.create_or_update
    assert error_of(create, "new", {"location": arm.location}).status_code == 503
    assert resources.resource_groups.get("new").location == arm.location


def test_lost_connection_is_an_error_of_the_client_and_the_change_is_made(arm, resources):
    arm.lose_connection("resource_groups.create_or_update")
    create = resources.resource_groups.create_or_update
    with pytest.raises(ServiceResponseError):
        create("new", {"location": arm.location})
    assert resources.resource_groups.get("new").location == arm.location


def test_lock_keeps_what_is_below_it_from_being_deleted(arm, resources):
    arm.groups.add("rg")
    arm.locks.add(arm.groups.all["rg"]["id"])
    delete = resources.resource_groups.begin_delete
    assert refused_code(delete, "rg") == "ScopeLocked"
    change = resources.resource_groups.create_or_update
    assert change("rg", {"location": arm.location, "tags": {"a": "b"}}).tags == {"a": "b"}
    arm.locks.add(f"/subscriptions/{arm.subscription}", level="ReadOnly")
    assert refused_code(change, "rg", {"location": arm.location}) == "ScopeLocked"


def test_new_resource_group_is_not_seen_by_all_requests_at_first(arm, resources, client):
    arm.chance.probability, arm.chance.now = 1.0, lambda: 0.0  # however slow this computer is
    resources.resource_groups.create_or_update("new", {"location": arm.location})
    networks = client("network").virtual_networks
    for _ in range(3):
        assert refused_code(networks.get, "new", "net") == "ResourceGroupNotFound"
    assert refused_code(networks.get, "new", "net") == "ResourceNotFound"
