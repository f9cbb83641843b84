"""Google is called from trio: what is repeated, what is waited for, what a cancellation leaves."""

from __future__ import annotations

import pytest
import trio

from bigmachine_gcp.api._operations import Operation
from tests.support.gcp.errors import GceError, OperationError
from tests.support.gcp.fixtures import error_of
from tests.support.gcp.gce import PROJECT, REGION, ZONE

BUSY = GceError(503, "backendError", "The service is currently unavailable.")
RATE = GceError(403, "rateLimitExceeded", "Quota exceeded for quota metric 'Queries'.")
QUOTA = GceError(403, "quotaExceeded", "Quota 'FIREWALLS' exceeded.  Limit: 1.0 globally.")
IMAGE = "projects/debian-cloud/global/images/family/debian-12"
INSTANCE = {
    "name": "bm-vm",
    "machine_type": f"zones/{ZONE}/machineTypes/n2-standard-2",
    "disks": [{"boot": True, "auto_delete": True, "initialize_params": {"source_image": IMAGE}}],
    "network_interfaces": [{"network": "global/networks/default"}],
}
RULE = {"name": "bm-test", "source_ranges": ["192.0.2.7/32"], "allowed": [{"I_p_protocol": "tcp"}]}

pytestmark = pytest.mark.usefixtures("no_delays")


def rules(gce):
    return [name for name in gce.firewalls.all if name.startswith("bm-")]


async def remove(api):
    await api.change_and_wait("firewalls.delete", firewall="bm-test")


def test_read_is_repeated_while_its_failure_is_temporary(gce, use):
    async def test(api):
        gce.refuse("zones.get", BUSY, times=2)
        gce.refuse("zones.get", RATE, times=9)  # more than others: quotas are refilled each minute
        assert (await api.read("zones.get", zone=ZONE)).name == ZONE
        assert gce.count("zones.get") == 12
        error = await error_of(api.read("zones.get", zone="us-central1-x"))
        assert (error.is_not_found, error.is_temporary, gce.count("zones.get")) == (True, False, 13)
        gce.refuse("zones.get", BUSY, times=99)
        error = await error_of(api.read("zones.get", zone=ZONE, attempts=3))
        assert (error.is_temporary, gce.count("zones.get")) == (True, 16)
        assert (error.action, error.code) == ("compute.zones.get", "backendError")

    use(test)


def test_quota_is_told_from_rate_limit_although_both_have_status_403(gce, use):
    async def test(api):
        gce.refuse("firewalls.insert", QUOTA)
        error = await error_of(api.change("firewalls.insert", firewall_resource=RULE))
        assert (error.is_quota, error.is_throttled, error.is_temporary) == (True, False, False)
        assert (error.is_denied, gce.count("firewalls.insert")) == (False, 1)

    use(test)


def test_change_whose_answer_is_lost_is_repeated_with_same_request_id(gce, use):
    async def test(api):
        gce.lose_answer("firewalls.insert", times=2)
        operation = await api.change("firewalls.insert", firewall_resource=RULE)
        await api.wait(operation)
        assert rules(gce) == ["bm-test"]
        ids = [call.requestId for call in gce.calls("firewalls.insert")]
        assert (len(ids), len(set(ids))) == (3, 1)
        await remove(api)
        assert gce.calls("firewalls.delete")[0].requestId != ids[0]

    use(test)


def test_failed_change_says_whether_its_outcome_is_unknown(gce, use):
    async def test(api):
        gce.refuse("firewalls.insert", BUSY, times=99)
        error = await error_of(api.change("firewalls.insert", firewall_resource=RULE))
        assert error.is_outcome_unknown
        assert gce.count("firewalls.insert") == 8

    use(test)


def test_change_is_not_told_apart_from_an_earlier_attempt_of_unknown_outcome(gce, use):
    async def test(api):
        gce.refuse("firewalls.insert", BUSY)
        gce.refuse("firewalls.insert", QUOTA)
        error = await error_of(api.change("firewalls.insert", firewall_resource=RULE))
        assert (error.is_quota, error.is_outcome_unknown) == (True, True)

    use(test)


def test_cancelled_change_waits_for_its_answer(gce, use):
    async def test(api):
        gce.hold("firewalls.insert")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(release_after, gce, scope)
                operation = await api.change("firewalls.insert", firewall_resource=RULE)
                assert scope.cancel_called
        await api.wait(operation)
        await remove(api)

    use(test)


async def release_after(gce, scope):
    await trio.to_thread.run_sync(gce.faults.held.wait)
    scope.cancel()
    gce.release()


def test_cancelled_change_of_unknown_outcome_is_still_repeated(gce, use):
    async def test(api):
        gce.lose_answer("firewalls.insert")
        gce.hold("firewalls.insert")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(release_after, gce, scope)
                operation = await api.change("firewalls.insert", firewall_resource=RULE)
        assert gce.count("firewalls.insert") == 2
        await api.wait(operation)
        await remove(api)

    use(test)


def test_cancelled_change_is_repeated_for_a_limited_time(gce, use, monkeypatch):
    monkeypatch.setattr("bigmachine.cloud.requests._retries._CANCELLED_SECONDS", 0.0)

    async def test(api):
        gce.lose_answer("firewalls.insert", times=9)
        gce.hold("firewalls.insert")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(release_after, gce, scope)
                error = await error_of(api.change("firewalls.insert", firewall_resource=RULE))
        assert error.is_outcome_unknown
        assert gce.count("firewalls.insert") == 1
        gce.faults.pending.clear()
        gce.advance(1.0)  # Google has it nevertheless
        await remove(api)

    use(test)


def test_cancelled_read_does_not_wait_for_its_answer(gce, use):
    async def test(api):
        gce.hold("zones.get")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: api.read("zones.get", zone=ZONE))
            await trio.to_thread.run_sync(gce.faults.held.wait)
            nursery.cancel_scope.cancel()
        assert not gce.faults.gate.is_set()
        gce.release()

    use(test)


def test_wait_raises_all_errors_of_the_operation(gce, use, monkeypatch):
    short = "The zone does not have enough resources available to fulfill the request."
    error = OperationError("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", short)

    def fields():
        second = {"code": "QUOTA_EXCEEDED", "message": "Quota 'CPUS' exceeded."}
        fields = OperationError.fields(error)
        fields["error"]["errors"].append(second)
        return fields

    error.fields = fields

    def fail(call):
        def finish():
            raise error

        return gce.operations.begin(call, "global", "insert", "global/firewalls/x", finish=finish)

    async def test(api):
        monkeypatch.setitem(gce._handlers, "firewalls.insert", fail)
        operation = await api.change("firewalls.insert", firewall_resource=RULE)
        first = await error_of(api.wait(operation))
        assert (first.action, first.code) == ("compute.firewalls.insert", error.code)
        assert (first.is_capacity, first.is_operation) == (True, True)
        assert (first.is_outcome_unknown, first.is_temporary) == (False, False)
        assert [each.code for each in first.errors] == [error.code, "QUOTA_EXCEEDED"]
        assert first.errors[1].is_quota
        assert first.operation.name == operation.name
        assert (first.project, first.message) == (PROJECT, short)

    use(test)


def test_wait_survives_early_answers_and_failures(gce, use, monkeypatch):
    async def test(api):
        early = iter([True] * 2)

        def of(what, probability):
            if next(early, False):
                return True
            gce.advance(7200)
            gce.advance(7200)
            return False

        monkeypatch.setattr(gce.chance, "of", of)
        gce.operations.step_seconds = 3600
        gce.refuse("globalOperations.wait", BUSY)
        done = await api.change_and_wait("firewalls.insert", firewall_resource=RULE)
        assert done.status.name == "DONE"
        assert gce.count("globalOperations.wait") == 4
        gce.operations.step_seconds = 0.0
        await remove(api)

    use(test)


def test_operation_that_google_does_not_find_yet_is_waited_for(gce, use):
    async def test(api):
        unknown = GceError(
            404, "notFound", "The resource 'projects/p/global/operations/o' was not f"
        )
        gce.refuse("globalOperations.wait", unknown, times=3)
        await api.change_and_wait("firewalls.insert", firewall_resource=RULE)
        await remove(api)
        gce.refuse("globalOperations.wait", unknown, times=99)
        error = await error_of(api.wait(Operation("compute.firewalls.insert", "o")))
        assert error.is_not_found

    use(test)


def test_operation_of_another_project_is_asked_for_there():
    from google.cloud import compute_v1  # here, not while tests are collected: it takes seconds

    link = "https://www.googleapis.com/compute/v1/projects/host/global/operations/o"
    raw = compute_v1.Operation(name="o", self_link=link)
    operation = Operation.of("compute.firewalls.insert", raw)
    assert (operation.service, operation.request) == (
        "global_operations",
        {"operation": "o", "project": "host"},
    )


def test_operations_are_waited_for_where_they_run(gce, use):
    async def test(api):
        operation = await api.change("instances.insert", zone=ZONE, instance_resource=INSTANCE)
        assert (operation.zone, operation.target.rpartition("/")[2]) == (ZONE, "bm-vm")
        await api.wait(operation)
        await api.change_and_wait("instances.delete", zone=ZONE, instance="bm-vm")
        assert gce.count("zoneOperations.wait") >= 2

    use(test)


def test_list_has_items_of_all_pages_and_all_zones(gce, use):
    async def test(api):
        zones = await api.read_all("zones.list", max_results=2)
        assert len(zones) == len({zone.name for zone in zones}) > 2
        assert gce.count("zones.list") > 1
        types = await api.read_all(
            "machine_types.aggregated_list", max_results=3, filter='(name = "n2-standard-2")'
        )
        assert len(types) == len({type.zone for type in types}) > 3

    use(test)


def test_list_without_a_zone_is_an_error_unless_that_is_allowed(gce, use):
    async def test(api):
        gce.unreachable_zones.add(ZONE)
        error = await error_of(api.read_all("instances.aggregated_list"))
        assert (error.code, error.is_temporary) == ("UNREACHABLE", True)
        assert f"could not reach zones/{ZONE}, so the list is not complete" in error.message
        assert gce.count("instances.aggregatedList") == 3
        assert await api.read_all("instances.aggregated_list", allow_unreachable=True) == []

    use(test)


def test_no_change_is_sent_once_they_are_forbidden(gce, use):
    async def test(api):
        api.forbid_changes()
        with pytest.raises(RuntimeError, match=r"compute\.firewalls\.insert .* was not sent"):
            await api.change("firewalls.insert", firewall_resource=RULE)
        with pytest.raises(RuntimeError, match="was not sent"):
            await api.read("firewalls.insert", firewall_resource=RULE)
        with pytest.raises(RuntimeError, match="iam/v1/roles may change something: it was not"):
            await api.read_json("iam", "v1/roles", body={})
        await api.read("regions.get", region=REGION)
        services = "v1/services/6F81-5844-456A/skus"
        await api.read_json("cloudbilling", services)
        methods = [call.method for call in gce.asked]
        assert methods == ["regions.get", "cloudbilling.services.skus.list"]

    use(test)


def test_closed_api_opens_its_connections_again(gce, use):
    async def test(api):
        await api.close()
        await api.read("zones.get", zone=ZONE)
        await api.close()
        await api.close()
        await api.read("zones.get", zone=ZONE)

    use(test)
