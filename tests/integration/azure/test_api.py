"""Azure is called from trio: what is repeated, what is waited for, what a cancellation leaves."""

from __future__ import annotations

import pytest
import trio

from bigmachine_azure.api._operations import Operation
from tests.support.azure.arm import LOCATION, SUBSCRIPTION
from tests.support.azure.errors import ArmError
from tests.support.azure.fixtures import error_of
from tests.support.azure.orphans import GROUP, add_orphan
from tests.support.azure.versions import VERSIONS
from tests.support.schemas import REFUSED

BUSY = ArmError(503, "ServiceUnavailable", "The service is temporarily unavailable.")
SLOW = ArmError(429, "TooManyRequests", "Wait.", headers={"Retry-After": "1200"})
QUOTA = ArmError(409, "OperationNotAllowed", "It exceeds the approved quota of cores.")
NAME = {"network_security_group_name": "bm-test"}
PUT, DELETE, GET = (
    f"network_security_groups.{verb}" for verb in ("create_or_update", "delete", "get")
)
BODY = {"location": LOCATION}
GROUPS = {"api_version": "2024-03-01"}

pytestmark = pytest.mark.usefixtures("no_delays")


@pytest.fixture
def use_group(arm, use):
    """Run a test with an API that has a resource group; it may leave one security group."""

    def run(test):
        async def main(api):
            arm.groups.add("mine", location=LOCATION)
            api.resource_group = "mine"
            await test(api)
            arm.faults.pending.clear()
            await api.change_and_wait(DELETE, **NAME)

        use(main)

    return run


def test_read_is_repeated_while_its_failure_is_temporary(arm, use_group):
    async def test(api):
        await api.change_and_wait(PUT, **NAME, parameters=BODY)
        count = arm.count(GET)
        arm.refuse(GET, BUSY, times=2)
        arm.throttle(GET, times=9)  # more than others: quotas are refilled each minute
        assert (await api.read(GET, **NAME))["name"] == "bm-test"
        assert arm.count(GET) - count == 12
        error = await error_of(api.read(GET, network_security_group_name="other"))
        assert (error.is_not_found, error.action, arm.count(GET) - count) == (True, GET, 13)
        arm.refuse(GET, BUSY, times=99)
        error = await error_of(api.read(GET, **NAME))
        assert (error.is_temporary, arm.count(GET) - count) == (True, 21)

    use_group(test)


def test_retry_after_is_waited_for_up_to_a_bound(arm, use_group, autojump_sleep):
    async def test(api):
        arm.throttle(GET, retry_after=7)
        await error_of(api.read(GET, **NAME))
        assert 7 in autojump_sleep
        arm.refuse(GET, SLOW)
        error = await error_of(api.read(GET, **NAME))
        assert (error.is_throttled, error.retry_after) == (True, 1200)
        assert max(autojump_sleep) == 7

    use_group(test)


@pytest.fixture
def autojump_sleep(monkeypatch):
    """The seconds that were slept, none of which pass."""
    slept, sleep = [], trio.sleep

    async def record(seconds):
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("bigmachine_azure.api._api.trio.sleep", record)
    return slept


def test_all_pages_of_a_list_are_read(arm, use):
    async def test(api):
        arm.page_size, arm.groups.all = 2, {}
        for number in range(5):
            arm.groups.add(f"group{number}", location=LOCATION)
        found = await api.request_all("resourcegroups", **GROUPS)
        assert [item["name"] for item in found] == [f"group{number}" for number in range(5)]
        assert arm.count("resource_groups.list") == 3
        api.resource_group = "group0"
        names = [{"network_security_group_name": f"bm-{number}"} for number in range(5)]
        for name in names:
            await api.change_and_wait(PUT, **name, parameters=BODY)
        arm.refuse("network_security_groups.list_all", BUSY)  # that page alone is read again
        found = await api.read_all("network_security_groups.list_all")
        assert [item["name"] for item in found] == [f"bm-{number}" for number in range(5)]
        assert arm.count("network_security_groups.list_all") == 4
        for name in names:
            await api.change_and_wait(DELETE, **name)

    use(test)


def test_change_whose_answer_is_lost_is_repeated(arm, use_group):
    async def test(api):
        arm.operations.seconds = 0.0  # else Azure answers that the first goes on
        arm.lose_answer(PUT, times=2)
        made = await api.change_and_wait(PUT, **NAME, parameters={**BODY, "tags": {"a": "b"}})
        assert (made["properties"]["provisioningState"], made["tags"]) == ("Succeeded", {"a": "b"})
        assert arm.count(PUT) == 3

    use_group(test)


def test_post_whose_answer_is_lost_is_not_repeated(arm, use):
    async def test(api):
        arm.lose_answer("providers.register")
        path = "providers/Microsoft.Compute/register"
        error = await error_of(api.request("POST", path, api_version="2021-04-01"))
        assert (error.is_outcome_unknown, arm.count("providers.register")) == (True, 1)
        arm.throttle("providers.register")  # this was not carried out
        await api.request("POST", path, api_version="2021-04-01")
        assert arm.count("providers.register") == 3

    use(test)


def test_failed_change_says_whether_its_outcome_is_unknown(arm, use_group):
    async def test(api):
        arm.refuse(PUT, BUSY, times=99)
        error = await error_of(api.change(PUT, **NAME, parameters=BODY))
        assert (error.is_outcome_unknown, arm.count(PUT)) == (True, 8)
        arm.faults.pending.clear()
        arm.refuse(PUT, QUOTA)
        error = await error_of(api.change(PUT, **NAME, parameters=BODY))
        assert (error.is_outcome_unknown, error.is_quota, arm.count(PUT)) == (False, True, 9)
        arm.refuse(PUT, BUSY)
        arm.refuse(PUT, QUOTA)
        error = await error_of(api.change(PUT, **NAME, parameters=BODY))
        assert (error.is_outcome_unknown, error.is_quota) == (True, True)

    use_group(test)


def test_cancelled_change_waits_for_its_answer(arm, use_group):
    async def test(api):
        await api.open()
        arm.hold(PUT)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(release_after, arm, scope)
                operation = await api.change(PUT, **NAME, parameters=BODY)
                assert scope.cancel_called
        await api.wait(operation)

    use_group(test)


def test_cancelled_change_is_repeated_for_a_limited_time(arm, use_group, monkeypatch):
    monkeypatch.setattr("bigmachine.cloud.requests._retries._CANCELLED_SECONDS", 0.0)

    async def test(api):
        await api.open()
        arm.lose_answer(PUT, times=9)
        arm.hold(PUT)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(release_after, arm, scope)
                error = await error_of(api.change(PUT, **NAME, parameters=BODY))
        assert (error.is_outcome_unknown, arm.count(PUT)) == (True, 1)
        arm.advance(60)  # Azure has made it nevertheless, and goes on with nothing

    use_group(test)


async def release_after(arm, scope):
    await trio.to_thread.run_sync(arm.faults.held.wait)
    scope.cancel()
    arm.release()


def test_failed_operation_raises_the_error_that_azure_tells_later(arm, use_group):
    async def test(api):
        operation = await api.change(PUT, **NAME, parameters=BODY)
        [pending] = arm.operations.all.values()
        arm.operations.fail(pending, ArmError(409, "AllocationFailed", "There is no room."))
        error = await error_of(api.wait(operation))
        assert (error.code, error.is_capacity, error.is_operation) == (
            "AllocationFailed",
            True,
            True,
        )
        assert (error.action, error.subscription) == (PUT, SUBSCRIPTION)

    use_group(test)


def test_deleted_resource_need_not_exist(arm, use_group):
    async def test(api):
        assert await api.change_and_wait(DELETE, **NAME) == {}
        operation = await api.change(PUT, **NAME, parameters=BODY)
        await api.wait(operation)
        operation = await api.change(DELETE, **NAME)
        arm.operations.all.clear()  # Azure has forgotten it
        assert await api.wait(operation) == {}

    use_group(test)


def test_operation_without_urls_is_told_by_its_resource(arm, use_group):
    async def test(api):
        given = await api.change(PUT, **NAME, parameters=BODY)
        alone = Operation(given.action, "PUT", given.url, 200, result=given.result)
        assert not alone.is_done
        assert (await api.wait(alone))["properties"]["provisioningState"] == "Succeeded"

    use_group(test)


def test_operation_that_may_not_be_read_is_told_by_its_resource(arm, use_group):
    arm.access.denied = {
        f"Microsoft.{name}/read"
        for name in (
            "Compute/locations/diskOperations",
            "Compute/locations/operations",
            "Network/locations/operations",
        )
    }

    async def test(api):
        made = await api.change_and_wait(PUT, **NAME, parameters=BODY)
        assert made["properties"]["provisioningState"] == "Succeeded"
        await api.change_and_wait(DELETE, **NAME)
        disk = add_orphan(arm, "Microsoft.Compute/disks", "left")
        await api.change_and_wait("disks.delete", resource_group_name=GROUP, disk_name="left")
        assert arm.resources.find(disk["id"]) is None
        await api.change_and_wait(PUT, **NAME, parameters=BODY)
        deletion = Operation("", "DELETE", f"{arm.url}/vm?forceDeletion=True&api-version=1", 202)
        assert deletion.resource_url == f"{arm.url}/vm?api-version=1"

    use_group(test)


def test_request_of_another_service_waits_for_its_end(arm, use):
    async def test(api):
        made = await api.request("PUT", "resourcegroups/new", **GROUPS, body=BODY)
        assert made["name"] == "new"
        assert await api.request("DELETE", "resourcegroups/new", **GROUPS) == {}
        error = await error_of(api.request("GET", "resourcegroups/new", **GROUPS))
        assert (error.is_not_found, error.action) == (True, "GET resourcegroups/new")

    use(test)


def test_no_change_is_sent_once_changes_are_forbidden(arm, use):
    async def test(api):
        api.forbid_changes()
        with pytest.raises(RuntimeError, match="was not sent"):
            await api.change(PUT, **NAME, parameters=BODY)
        with pytest.raises(RuntimeError, match="was not sent"):
            await api.request("PUT", "resourcegroups/new", **GROUPS, body=BODY)
        await api.request_all("resourcegroups", **GROUPS)
        assert [call.verb for call in arm.asked if call.verb != "GET"] == []

    use(test)


def test_cloud_that_lags_behind_is_asked_in_its_newest_version(arm, use_group, monkeypatch):
    old = ("2025-06-01-preview", "2025-01-01", "2024-01-01")
    monkeypatch.setitem(VERSIONS, "Microsoft.Network", old)

    async def test(api):
        await api.change_and_wait(PUT, **NAME, parameters=BODY)
        assert (await api.read(GET, **NAME))["name"] == "bm-test"
        used = {call.api_version for call in arm.asked if call.provider == "Microsoft.Network"}
        assert used == {"2025-01-01"}
        assert [text.partition(":")[0] for text in REFUSED] == [PUT]  # asked for once
        REFUSED.clear()

    use_group(test)


def test_many_requests_at_once_use_one_token(arm, use):
    async def test(api):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(lambda: api.request_all("locations", api_version="2022-12-01"))
        assert arm.entra.issued == 1

    use(test)


def test_api_can_be_used_again_after_it_was_closed(use):
    async def test(api):
        await api.request_all("locations", api_version="2022-12-01")
        await api.close()
        await api.close()
        await api.request_all("locations", api_version="2022-12-01")

    use(test)
