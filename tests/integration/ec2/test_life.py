"""Instances are watched, listed and freed; nothing is left, whatever fails."""

from __future__ import annotations

import pickle
import re

import pytest
import trio

from bigmachine import MachineChanged, State
from bigmachine.errors import BigmachineError, MachineStopped, StartError, StopReason, UsageError
from bigmachine.system import Instance, Keepalive
from bigmachine_ec2 import Ec2Options, Ec2System
from tests.support.waiting import eventually

SESSION = "test-0123abcd.bigmachine"
DENIED = "UnauthorizedOperation"


def states(aws):
    return [vm.state for vm in aws.instances()]


def terminations(aws):
    """Return the requests to terminate instances: whether each skipped their shutdown."""
    return ["SkipOsShutdown" in request for request in aws.requests("TerminateInstances")]


def end_by_driver(system, instance, reason=StopReason.SHUTDOWN):
    """Tell a system what the session tells it before it stops a machine."""
    name = instance.name.partition(".")[0]
    error = MachineStopped("it was shut down", machine=name, reason=reason)
    system.event(MachineChanged(name, instance.addr, State.STOPPED, error))


# -- watch ----------------------------------------------------------------------------


def test_running_instance_has_not_ended(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        assert await kit.system.keepalive_failed(instance) is None

    run(test)


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize(
    ("event", "reason", "detail"),
    [
        ("interrupt", StopReason.INTERRUPTED, "EC2 interrupted the spot instance"),
        ("power_off", StopReason.EXITED, "it powered itself off"),
    ],
)
def test_ended_instance_has_ec2s_reason(run, aws, event, reason, detail):
    async def test(kit):
        [instance] = await kit.start()
        getattr(aws, event)(instance.id)
        gone = await kit.system.keepalive_failed(instance)
        assert gone.reason is reason
        assert gone.detail.startswith(detail)
        assert "EC2 says" in gone.detail

    run(test)


def test_every_state_reason_of_the_api_reference_has_a_message():
    from botocore.session import Session

    from bigmachine_ec2.resources._vm import _REASONS

    model = Session().get_service_model("ec2").shape_for("StateReason").members["Message"]
    codes = re.findall(r"<code>((?:Client|Server)[\w.]+)</code>", model.documentation)
    assert len(codes) >= 12
    assert set(codes) <= set(_REASONS)
    assert {code for code in codes if _REASONS[code][0] is StopReason.INTERRUPTED} == {
        "Server.SpotInstanceShutdown",
        "Server.SpotInstanceTermination",
    }


@pytest.mark.usefixtures("consistent")
def test_instance_terminated_by_somebody_has_ended(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        aws.ec2.terminate_instances([instance.id])
        gone = await kit.system.keepalive_failed(instance)
        assert gone.detail.startswith("somebody terminated it")
        await kit.system.stop(instance)
        assert (await kit.system.keepalive_failed(instance)).reason is StopReason.GONE

    run(test)


def test_unknown_instance_has_ended_unless_it_is_new(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        aws.replicas.miss("instances", times=1)
        assert await kit.system.keepalive_failed(instance) is None
        unknown = Instance("m9.test-0123abcd.bigmachine", "", id="i-0123456789abcdef0")
        assert "no longer has this instance" in (await kit.system.keepalive_failed(unknown)).detail
        looks = aws.count("DescribeInstances")
        nobody = await kit.system.keepalive_failed(Instance("m9.x-0123abcd.bigmachine", "x:1"))
        assert "it is no instance of this session" in nobody.detail
        assert aws.count("DescribeInstances") == looks

    run(test)


def test_instance_state_is_unknown_if_ec2_cannot_be_reached(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        aws.refuse("DescribeInstances", "UnauthorizedOperation", status=403)
        assert await kit.system.keepalive_failed(instance) is None

    run(test)


def test_concurrent_state_checks_share_requests(run, aws):
    async def test(kit):
        instances = await kit.start(40)
        aws.interrupt(instances[7].id)
        aws.asked.clear()
        found = {}

        async def ask(instance):
            found[instance.name] = await kit.system.keepalive_failed(instance)

        async with trio.open_nursery() as nursery:
            for instance in instances:
                nursery.start_soon(ask, instance)
        assert [name for name, gone in found.items() if gone] == [instances[7].name]
        assert aws.count("DescribeInstances") <= 2

    run(test)


def test_console_is_read_on_nitro_and_on_older_instances(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        assert "Linux version" in await kit.system.console(instance)
        aws.refuse("GetConsoleOutput", "UnsupportedOperation", when=lambda p: "Latest" in p)
        assert "Linux version" in await kit.system.console(instance)
        assert "Latest" not in aws.requests("GetConsoleOutput")[-1]

    run(test)


# -- stop, and find what is left ------------------------------------------------------


def test_stop_terminates_only_its_instance_and_waits_for_it(run, aws):
    async def test(kit):
        aws.answers_until_terminated = 3
        one, other = await kit.start(2)
        await kit.system.stop(one)
        assert sorted(states(aws)) == ["running", "terminated"]
        await kit.system.stop(one)
        await kit.system.stop(Instance(one.name, ""))
        await kit.system.stop(Instance(f"m7.{SESSION}", ""))
        assert await kit.system.keepalive_failed(other) is None

    run(test)


@pytest.mark.usefixtures("consistent")
def test_stop_finds_the_instance_by_name(run, aws):
    async def test(kit):
        one, other = await kit.start(2)
        reaper = kit.other().system
        await reaper.stop(Instance(one.name, ""))
        assert await kit.system.keepalive_failed(one)
        assert await kit.system.keepalive_failed(other) is None
        await reaper.shutdown()

    run(test)


def test_stop_waits_for_an_instance_not_yet_found(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        aws.replicas.miss("instances", times=4)
        await kit.system.stop(instance)
        assert states(aws) == ["terminated"]

    run(test)


def test_cancelled_stop_can_be_repeated(run, aws):
    async def test(kit):
        aws.answers_until_terminated = 4
        [instance] = await kit.start()
        with trio.move_on_after(0.1) as scope:
            await kit.system.stop(instance)
        assert scope.cancelled_caught
        await kit.system.stop(instance)
        assert states(aws) == ["terminated"]

    run(test)


@pytest.mark.usefixtures("consistent")
def test_foreign_instance_is_never_terminated(run, aws):
    reservation = aws.ec2.run_instances(
        next(iter(aws.ec2.amis)),
        1,
        None,
        [],
        region_name="us-east-1",
        is_instance_type_default=True,
        instance_type="m1.small",
    )
    [foreign] = reservation.instances
    group = aws.ec2.create_security_group("theirs", "theirs", aws.ec2.get_default_vpc().id)

    async def test(kit):
        [instance] = await kit.start()
        assert foreign.id not in {i.id for i in await kit.system.instances()}
        await kit.system.stop(Instance(instance.name, "", id=foreign.id))
        await kit.system.stop(Instance("security-group", "", id=group.id))
        await kit.system.shutdown()
        assert foreign.state in ("pending", "running")
        assert group.id in aws.leftovers()

    run(test)
    aws.ec2.terminate_instances([foreign.id])
    aws.clear()


@pytest.mark.usefixtures("consistent")
@pytest.mark.long
def test_instances_lists_all_sessions_with_security_groups(run, aws):
    async def test(kit):
        other = kit.other()
        mine = await kit.start(2)
        theirs = await other.start(1)
        fresh = Ec2System(kit.options)
        listed = {i.name: i for i in await fresh.instances()}
        for instance in (*mine, *theirs):
            found = listed[instance.name]
            assert (found.id, found.zone, found.address) == (
                instance.id,
                instance.zone,
                instance.address,
            )
            assert found.details["session"] == instance.name.partition(".")[2]
            assert found.details["host"]
            assert found.details["started"].startswith("20")
        assert len([i for i in listed.values() if i.details["kind"] == "security-group"]) == 2
        await other.system.shutdown()
        listed = {i.name for i in await fresh.instances()}
        besides = {f"{kind}.{SESSION}" for kind in ("volume", "security-group")}
        assert listed == {i.name for i in mine} | besides
        for instance in await fresh.instances():  # which is how a dead session is reaped
            await fresh.stop(instance)
        assert await fresh.instances() == []
        await fresh.shutdown()

    run(test)


# -- shutdown -------------------------------------------------------------------------


def test_shutdown_frees_all_of_the_session_and_nothing_else(run, aws):
    async def test(kit):
        other = kit.other()
        await kit.start(3)
        [theirs] = await other.start(1)
        await kit.system.shutdown()
        assert sorted(states(aws)) == ["running"] + ["terminated"] * 3
        assert await other.system.keepalive_failed(theirs) is None
        await kit.system.shutdown()
        await other.system.shutdown()

    run(test)


@pytest.mark.usefixtures("consistent")
def test_shutdown_finds_forgotten_instances_by_their_tags(run, aws):
    async def test(kit):
        await kit.start(2)
        kit.system.resources.ids.clear()
        await kit.system.shutdown()
        assert states(aws) == ["terminated"] * 2

    run(test)


def test_shutdown_waits_until_the_security_group_is_unused(run, aws):
    async def test(kit):
        await kit.start()
        aws.refuse("DeleteSecurityGroup", "DependencyViolation", times=2)
        await kit.system.shutdown()
        assert aws.count("DeleteSecurityGroup") == 3

    run(test)


def test_instances_of_a_start_that_could_not_be_undone_are_terminated(run, aws):
    """Also if AWS does not list them, and the error is not lost in the wait for their group."""

    async def test(kit):
        system = await kit.setup()
        aws.refuse("DescribeInstances", "InternalFailureOfATest", times=3)
        with pytest.raises(StartError, match="DescribeInstances failed"):
            await system.start(2, kit.request)
        terminated = aws.count("TerminateInstances")
        aws.clear_faults()
        aws.refuse("DescribeInstances", "InternalFailureOfATest", times=1)
        with pytest.raises(BigmachineError, match="may still have instances .* reap ec2"):
            await system.shutdown()
        assert aws.count("TerminateInstances") > terminated
        assert states(aws) == ["terminated"] * 2

    run(test)


def test_security_group_that_something_else_uses_is_told(run, aws, monkeypatch, caplog):
    """As a rule of a database's group, which lets machines in (kubernetes/kops issue 6454)."""
    monkeypatch.setattr("bigmachine_ec2.resources._leftovers._IN_USE_SECONDS", 0.0)

    async def test(kit):
        await kit.start()
        aws.refuse(
            "DeleteSecurityGroup", "DependencyViolation", "it has a dependent object", times=4
        )
        await kit.system.shutdown()
        told = [r.getMessage() for r in caplog.records if "can't be deleted" in r.getMessage()]
        assert len(told) == 1
        assert told[0].startswith("security-group sg-")
        assert "such as a rule of another security group" in told[0]

    run(test)


def test_cancelled_shutdown_can_be_repeated(run, aws):
    async def test(kit):
        aws.answers_until_terminated = 4
        await kit.start(2)
        with trio.move_on_after(0.1) as scope:
            await kit.system.shutdown()
        assert scope.cancelled_caught
        await kit.system.shutdown()
        assert states(aws) == ["terminated"] * 2

    run(test)


def test_shutdown_without_setup_sends_no_request(aws):
    async def main():
        system = Ec2System(Ec2Options())
        await system.shutdown()
        await system.shutdown()

    trio.run(main)
    assert not aws.asked


def test_failed_shutdown_says_what_may_be_left(run, aws):
    async def test(kit):
        await kit.start()
        aws.refuse("TerminateInstances", "UnauthorizedOperation", status=403)
        with pytest.raises(BigmachineError, match=f"{SESSION} may still have instances"):
            await kit.system.shutdown()

    run(test)


@pytest.mark.usefixtures("consistent")
def test_shutdown_finds_a_security_group_whose_response_was_lost(run, aws):
    async def test(kit):
        system = await kit.setup()
        aws.lose_answer("CreateSecurityGroup", times=1)
        aws.refuse("CreateSecurityGroup", "Unavailable", status=503, times=99)
        aws.refuse("DescribeSecurityGroups", "Unavailable", status=503, times=8)
        with pytest.raises(StartError, match="has a fault: .*DescribeSecurityGroups: AWS answered"):
            await system.start(1, kit.request)
        assert len(aws.leftovers()) == 1
        await system.shutdown()

    run(test)


@pytest.mark.usefixtures("consistent")
def test_all_pages_of_a_list_are_read(run, aws, monkeypatch):
    async def test(kit):
        system = await kit.setup()
        started = [(await system.start(1, kit.request))[0] for _ in range(7)]
        monkeypatch.setattr("bigmachine_ec2.api._api._PAGE", 5)
        listed = {i.id for i in await kit.system.instances()}
        assert {i.id for i in started} <= listed
        await kit.system.shutdown()
        assert states(aws) == ["terminated"] * 7

    run(test)


# -- a start that is cancelled --------------------------------------------------------


@pytest.mark.parametrize("misses", [0, 3])
def test_start_cancelled_during_launch_terminates_the_instances(run, aws, misses):
    async def test(kit):
        system = await kit.setup()
        aws.replicas.miss("instances", times=misses)
        aws.gate.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start, 3, kit.request)
            await eventually(aws.held.is_set)
            nursery.cancel_scope.cancel()
            aws.gate.set()
        assert states(aws) == ["terminated"] * 3

    run(test)


def test_start_cancelled_while_waiting_for_addresses_frees_all(run, aws):
    async def test(kit):
        aws.answers_until_running = 1000
        system = await kit.setup()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start, 3, kit.request)
            await eventually(lambda: aws.count("DescribeInstances") > 0)
            nursery.cancel_scope.cancel()
        assert states(aws) == ["terminated"] * 3

    run(test)


@pytest.mark.usefixtures("consistent")
def test_start_cancelled_with_unknown_outcome_frees_all(run, aws):
    async def test(kit):
        system = await kit.setup()
        aws.lose_answer("CreateFleet", times=3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start, 2, kit.request)
            await eventually(lambda: aws.count("CreateFleet") > 0)
            nursery.cancel_scope.cancel()
        assert states(aws) == ["terminated"] * 2
        assert aws.count("CreateFleet") >= 2

    run(test)


@pytest.mark.usefixtures("consistent")
def test_cancelled_start_does_not_wait_for_long_for_an_aws_that_is_silent(run, aws, monkeypatch):
    monkeypatch.setattr("bigmachine.cloud.requests._retries._CANCELLED_SECONDS", 0.0)

    async def test(kit):
        system = await kit.setup()
        aws.lose_answer("CreateFleet", times=99)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start, 2, kit.request)
            await eventually(lambda: aws.count("CreateFleet") > 0)
            nursery.cancel_scope.cancel()
        assert aws.count("CreateFleet") <= 3
        assert states(aws) == ["terminated"] * 2

    run(test)


@pytest.mark.parametrize(
    "after",
    [0.01, 0.06, 0.2, *(pytest.param(s, marks=pytest.mark.long) for s in (0.0, 0.03, 0.1, 0.4))],
)
def test_start_cancelled_at_any_time_leaves_nothing(run, aws, after):
    async def test(kit):
        [running] = await kit.start()
        started = []
        with trio.move_on_after(after):
            started = await kit.system.start(2, kit.request)
        for instance in started:
            await kit.system.stop(instance)
        assert sorted(states(aws))[0] == "running"
        assert states(aws).count("terminated") == len(aws.instances()) - 1
        assert await kit.system.keepalive_failed(running) is None

    run(test)


def test_shutdown_succeeds_after_a_usage_error_of_setup(run, aws):
    async def test(kit):
        with pytest.raises(UsageError):
            await kit.setup()
        await kit.system.shutdown()

    run(test, disk=1)


def test_system_on_a_machine_has_no_driver_state(run):
    async def test(kit):
        await kit.system.setup()
        assert kit.system.maxprocs() == 2
        there = pickle.loads(pickle.dumps(kit.system))
        assert there.options == kit.system.options
        assert there.maxprocs() is None

    run(test)


def test_resource_that_is_gone_is_freed_though_aws_denies_it(run, aws):
    """A policy that permits tagged resources only denies it: what is gone has no tags."""
    gone = "i-0123456789abcdef0"
    others = [f"{prefix}-0123456789abcdef0" for prefix in ("vol", "sg", "lt", "sir")]

    def names_gone(parameters):
        return gone in parameters.values()

    async def test(kit):
        [instance] = await kit.start()
        aws.refuse("TerminateInstances", DENIED, status=403, times=9, when=names_gone)
        await kit.system._vms.terminate([gone, instance.id])
        [vm] = aws.instances()
        assert vm.state == "terminated"
        aws.refuse("TerminateInstances", DENIED, status=403, times=9)
        await kit.system._vms.terminate([instance.id])
        for action in ("DeleteVolume", "DeleteSecurityGroup", "DeleteLaunchTemplate"):
            aws.refuse(action, DENIED, status=403, times=5)
        aws.refuse("CancelSpotInstanceRequests", DENIED, status=403, times=5)
        await kit.system._leftovers.free(others)
        aws.reset()

    run(test)


# -- the shutdown of operating systems ------------------------------------------------


@pytest.mark.parametrize("reason", [StopReason.SHUTDOWN, StopReason.IDLE])
@pytest.mark.parametrize("how", ["stop", "shutdown"])
def test_instance_whose_services_have_ended_is_not_shut_down_first(run, aws, reason, how):
    async def test(kit):
        [instance] = await kit.start()
        end_by_driver(kit.system, instance, reason)
        await (kit.system.stop(instance) if how == "stop" else kit.system.shutdown())
        assert terminations(aws) == [True]
        assert aws.requests("TerminateInstances")[0]["SkipOsShutdown"] == "true"
        assert states(aws) == ["terminated"]

    run(test)


def test_instances_that_may_have_work_to_end_are_shut_down(run, aws):
    async def test(kit):
        lost, unknown, left = await kit.start(3)
        end_by_driver(kit.system, lost, StopReason.KEEPALIVE)
        await kit.system.stop(lost)
        await kit.system.stop(unknown)
        reaper = Ec2System(kit.options)
        end_by_driver(reaper, left)
        await reaper.stop(left)
        await reaper.shutdown()
        assert terminations(aws) == [False] * 3

    run(test)


def test_instances_with_the_users_units_are_shut_down(run, aws, tmp_path):
    (unit := tmp_path / "collector.service").write_text("[Service]\nExecStart=/bin/true\n")

    async def test(kit):
        [instance] = await kit.start()
        end_by_driver(kit.system, instance)
        await kit.system.stop(instance)
        assert terminations(aws) == [False]

    run(test, units=[str(unit)])


def test_refused_skip_of_the_shutdown_does_not_keep_an_instance(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        end_by_driver(kit.system, instance)
        aws.refuse("TerminateInstances", "UnsupportedOperation")
        await kit.system.stop(instance)
        assert terminations(aws) == [True, False]
        assert states(aws) == ["terminated"]

    run(test)


def test_older_botocore_is_not_sent_a_parameter_that_it_does_not_know(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        model = kit.system._api._client("ec2").meta.service_model
        # botocore refuses parameters that are not in here.
        del model.operation_model("TerminateInstances").input_shape.members["SkipOsShutdown"]
        end_by_driver(kit.system, instance)
        await kit.system.stop(instance)
        assert terminations(aws) == [False]
        assert states(aws) == ["terminated"]

    run(test)


# -- keepalives -----------------------------------------------------------------------


def test_timings_of_keepalives_are_options():
    system = Ec2System()
    assert system.keepalive() == Keepalive(period=60.0, timeout=120.0, rpc_timeout=10.0)
    default = system.orphan_timeout
    patient = Ec2System(Ec2Options(keepalive_timeout=1800.0, rpc_timeout=30.0))
    assert patient.keepalive() == Keepalive(period=60.0, timeout=1800.0, rpc_timeout=30.0)
    assert patient.orphan_timeout == default + 1800.0 - 300.0
