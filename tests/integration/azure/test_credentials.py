"""Credentials and subscription are found where Azure's tools look, or the error says what to do."""

from __future__ import annotations

import json
import time
import types
from pathlib import Path

import pytest
import trio
from azure.core.exceptions import ClientAuthenticationError

from bigmachine.errors import BigmachineError, StartError, UsageError
from bigmachine_azure import AzureOptions
from bigmachine_azure.api._advice import explain
from bigmachine_azure.api._api import Api
from bigmachine_azure.api._credentials import find_cloud
from bigmachine_azure.api._errors import AzureError
from bigmachine_azure.api._transport import errors_of
from tests.support.azure.arm import SUBSCRIPTION
from tests.support.azure.entra import DRIVER, OTHER_TENANT, TENANT, Principal
from tests.support.azure.errors import ArmError

LOCATIONS = {"api_version": "2022-12-01"}
OTHER = "66666666-6666-4666-8666-666666666666"
SECRETS = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
EXPIRED = (
    "ERROR: AADSTS700082: The refresh token has expired due to inactivity. The token was issued on "
    "2026-01-01T00:00:00Z and was inactive for 90.00:00:00. Trace ID: 9517106c-a6a7-403b-9f18-84f2"
)
LOGGED_OUT = "ERROR: Please run 'az login' to setup account."


def opened(arm, **options):
    """Return the subscription of an API that a request has used. Raises errors for users."""

    async def main():
        api = Api(AzureOptions(**{"endpoint_url": arm.url, **options}))
        try:
            await api.request_all("locations", **LOCATIONS)
            return api.subscription
        except AzureError as error:
            raise explain(error) from error
        finally:
            await api.close()

    return trio.run(main)


def refused(arm, kind: type[BigmachineError] = StartError, **options):
    """Return what a user is told whose first request fails."""
    with pytest.raises(kind) as caught:
        opened(arm, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 8 * 80
    return text


class Az:
    """The az command, and its files, as of a user who has signed in."""

    def __init__(self, folder: Path, arm) -> None:
        self.folder = folder
        self.arm = arm
        self.files = folder / "azure"
        self.files.mkdir()
        self.sign_in(DRIVER)

    def sign_in(self, principal: Principal) -> None:
        token = {
            "accessToken": self.arm.entra.issue(principal),
            "expires_on": int(time.time()) + 3600,
        }
        (self.folder / "token").write_text(json.dumps(token))
        self.install(f"cat {self.folder}/token")

    def install(self, command: str) -> None:
        script = self.folder / "bin/az"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\necho "$@" >> {self.folder}/calls\n{command}\n')
        script.chmod(0o755)

    def fail(self, text: str) -> None:
        (self.folder / "error").write_text(text)
        self.install(f"cat {self.folder}/error >&2; exit 1")

    def use(self, subscription: str) -> None:
        """As `az account set`; az writes a byte order mark."""
        known = {SUBSCRIPTION: TENANT, OTHER: OTHER_TENANT}
        listed = [
            {"id": id, "isDefault": id == subscription.lower(), "tenantId": tenant}
            for id, tenant in known.items()
        ]
        profile = {"subscriptions": listed}
        (self.files / "azureProfile.json").write_text(json.dumps(profile), encoding="utf-8-sig")

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def nobody(arm, monkeypatch):
    """No service principal; and no metadata service is asked, which takes a second."""
    for name in SECRETS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


@pytest.fixture
def az(arm, nobody, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return Az(tmp_path, arm)


def test_service_principal_of_the_environment_is_used(arm):
    assert opened(arm) == SUBSCRIPTION
    assert {call.user for call in arm.asked} == {DRIVER}


def test_user_of_the_az_command_is_used_and_it_runs_once(arm, az, monkeypatch):
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    az.use(SUBSCRIPTION.upper())
    assert opened(arm) == SUBSCRIPTION
    assert [call.partition(" --")[0] for call in az.calls] == ["account get-access-token"]


def test_subscription_comes_from_option_then_variable_then_az(arm, az, monkeypatch):
    az.use(OTHER)
    assert opened(arm) == SUBSCRIPTION  # by the variable
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", OTHER)
    assert opened(arm, subscription=SUBSCRIPTION) == SUBSCRIPTION
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    assert f"Azure has no subscription '{OTHER}'" in refused(arm, UsageError)


def test_user_signs_in_to_the_tenant_of_the_subscription(arm, az):
    az.use(OTHER)  # the default, which is of another tenant
    assert opened(arm, subscription=SUBSCRIPTION) == SUBSCRIPTION
    assert az.calls[-1].endswith(f"--tenant {TENANT}")


def test_only_subscription_of_the_credentials_is_used(arm, monkeypatch):
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    assert opened(arm) == SUBSCRIPTION
    arm.places.tenants.clear()
    assert "subscription: the credentials may not use any: have a role" in refused(arm, UsageError)


def test_one_of_several_subscriptions_must_be_named(arm, monkeypatch):
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    arm.places.tenants[OTHER] = TENANT
    names = {OTHER: "Research", SUBSCRIPTION: "Pay-As-You-Go"}

    def name(answer):
        return {
            "value": [{**of, "displayName": names[of["subscriptionId"]]} for of in answer["value"]]
        }

    arm.edit("subscriptions.list", name)
    text = refused(arm, UsageError)
    assert f"there are several: 'Pay-As-You-Go' ({SUBSCRIPTION}), 'Research' ({OTHER})" in text
    assert opened(arm, subscription="pay-as-you-go") == SUBSCRIPTION
    text = refused(arm, UsageError, subscription="Resaerch")
    assert "subscription: the credentials have none named 'Resaerch'; did you mean 'Res" in text
    names[OTHER] = names[SUBSCRIPTION]
    text = refused(arm, UsageError, subscription="Pay-As-You-Go")
    assert "several are named 'Pay-As-You-Go': pass the ID of one ('Pay-As-You-Go' " in text


def test_no_credentials_is_told_with_both_ways_to_get_some(arm, nobody, monkeypatch, caplog):
    text = refused(arm)
    assert "there are no Azure credentials: install the az command and run `az login`, or" in text
    assert caplog.records == []
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "x")
    assert "AZURE_TENANT_ID and AZURE_CLIENT_ID must be set, too" in refused(arm)
    assert arm.asked == []


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (EXPIRED, "your sign-in to Azure has expired: run `az login`"),
        (LOGGED_OUT, "nobody is signed in to Azure: run `az login`"),
        ("ERROR: AADSTS50076: Due to a configuration change", "requires multi-factor authentic"),
        ("ERROR: AADSTS53003: Access has been blocked", "a Conditional Access policy of your"),
        ("ERROR: AADSTS50999: Something new.", "Microsoft Entra gives no token: correct what"),
    ],
)
def test_sign_in_that_az_refuses_is_told_with_what_to_run(arm, az, said, says):
    az.fail(said)
    text = refused(arm)
    assert says in text
    assert "Trace ID" not in text
    assert arm.asked == []


@pytest.mark.parametrize(
    ("arrange", "says"),
    [
        ({"AZURE_CLIENT_SECRET": "the-id"}, "AZURE_CLIENT_SECRET is no secret of the application"),
        ({"AZURE_CLIENT_ID": OTHER}, "the tenant has no such application: correct AZURE_CLIENT_ID"),
        ({"AZURE_TENANT_ID": OTHER}, "there is no such tenant: correct AZURE_TENANT_ID"),
        ({"AZURE_TENANT_ID": "no tenant!"}, "the environment has wrong settings for Azure's cred"),
        ({"AZURE_TOKEN_CREDENTIALS": "mine"}, "the environment has wrong settings for Azure's cr"),
    ],
)
def test_wrong_setting_of_a_service_principal_is_named(arm, monkeypatch, arrange, says):
    for name, value in arrange.items():
        monkeypatch.setenv(name, value)
    assert says in refused(arm)
    assert arm.asked == []


def test_expired_secret_is_told(arm):
    arm.entra.is_secret_expired = True
    assert "the secret in AZURE_CLIENT_SECRET has expired: create another with" in refused(arm)


def test_wrong_tenant_is_told_and_mended_while_the_program_runs(arm, az):
    az.sign_in(Principal(OTHER, "ada@example.com", tenant=OTHER_TENANT))

    async def main():
        api = Api(AzureOptions(endpoint_url=arm.url))
        with pytest.raises(AzureError) as caught:
            await api.request_all("locations", **LOCATIONS)
        text = str(explain(caught.value))
        assert f"the credentials are of the tenant {OTHER_TENANT}, and the subscription" in text
        assert f"run `az login --tenant {TENANT}` and `az account set" in text
        az.sign_in(DRIVER)
        await api.request_all("locations", **LOCATIONS)
        await api.close()

    trio.run(main)


def test_wrong_clock_is_told(arm, monkeypatch):
    arm.refuse_always("*", ArmError(401, "ExpiredAuthenticationToken", "It has expired."))
    clock = types.SimpleNamespace(time=lambda: time.time() + 3000)
    monkeypatch.setattr("bigmachine.cloud.errors._clock_skew.time", clock)
    text = refused(arm)
    assert "this computer's clock is 50 minutes ahead of Azure's: set it right" in text


def test_subscription_that_is_disabled_is_told(arm):
    arm.places.states[SUBSCRIPTION] = "Disabled"

    async def main():
        api = Api(AzureOptions(endpoint_url=arm.url))
        with pytest.raises(AzureError) as caught:
            await api.request(
                "PUT", "resourceGroups/x", api_version="2024-03-01", body={"location": "westeurope"}
            )
        await api.close()
        return str(explain(caught.value))

    assert f"the subscription '{SUBSCRIPTION}' is disabled" in trio.run(main)


@pytest.mark.parametrize(
    ("environ", "config", "name"),
    [
        ({}, "", "AzureCloud"),
        ({"AZURE_AUTHORITY_HOST": "https://login.chinacloudapi.cn/"}, "", "AzureChinaCloud"),
        ({"AZURE_AUTHORITY_HOST": "login.microsoftonline.us"}, "", "AzureUSGovernment"),
        ({"AZURE_SDK_CLOUD_CONF": "AZURE_US_GOVERNMENT"}, "", "AzureUSGovernment"),
        ({}, "[cloud]\nname = AzureChinaCloud\n", "AzureChinaCloud"),
        ({}, "[cloud]\nname = MyStack\n", "AzureCloud"),
    ],
)
def test_cloud_is_that_of_the_environment_or_of_az(tmp_path, monkeypatch, environ, config, name):
    monkeypatch.delenv("AZURE_AUTHORITY_HOST", raising=False)
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path))
    (tmp_path / "config").write_text(config)
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    assert find_cloud().name == name


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "set REQUESTS_CA_BUNDLE"),
        ("HTTPSConnection: Failed to resolve 'login.microsoftonline.com'", "can't be reached: che"),
        ("Unable to connect to proxy", "the proxy can't be used: correct HTTPS_PROXY"),
    ],
)
def test_connection_that_azure_identity_lacks_is_told(said, says):
    text = f"DefaultAzureCredential failed.\n\tEnvironmentCredential: Authentication failed: {said}"
    with pytest.raises(AzureError) as caught, errors_of("sign in"):
        raise ClientAuthenticationError(text)
    assert says in str(explain(caught.value))


def test_unreachable_azure_is_told_soon(arm, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    text = refused(arm, endpoint_url="https://127.0.0.1:1")
    assert "Azure can't be reached: check the internet connection, and HTTPS_PROXY" in text


def test_certificate_of_an_inspecting_proxy_is_told(arm, az, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert "set REQUESTS_CA_BUNDLE to the file of its certificate authority" in refused(arm)
