"""Machines of ``ec2`` on hosts that really boot: whatever fails, nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import textwrap

import pytest

import bigmachine as bm
from bigmachine.errors import MachineStopped, StartError, StopReason
from tests.support import drivers
from tests.support.aws.echo import Echo
from tests.support.public_keys import KEY
from tests.support.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(240)]

PROGRAM = """
    import json, sys, time
    import bigmachine as bm

    class Echo:
        def echo(self, value):
            return value

    if __name__ == "__main__":
        with bm.Session("ec2", keepalive_timeout=10, keepalive_period=2, rpc_timeout=3) as session:
            machines = session.start(2, services={"Echo": Echo()})
            print(machines[0].call("Echo.echo", 1), flush=True)
            print(session._session._reaper._process.pid, flush=True)
            sys.stdin.read()
"""


BRISK = {"keepalive_timeout": 10, "keepalive_period": 2, "rpc_timeout": 3}
"""Shorter keepalives, so that tests are faster."""


@pytest.fixture
def driver(ec2, tmp_path):
    """A driver in a process of its own, with two machines; ``reaper`` is its reaper."""
    (tmp_path / "main.py").write_text(textwrap.dedent(PROGRAM))
    with drivers.driver("main.py", cwd=tmp_path) as process:
        assert process.read_line() == "1"
        [process.reaper] = process.read_pids()
        yield process


def start(session, count=1):
    return session.start(count, services={"Echo": Echo()})


def ids(ec2):
    return [*ec2.hosts]


def test_bigpi_runs_unchanged(ec2, aws):
    done = subprocess.run(
        ["bigpi", "--system", "ec2", "-n", "1000000", "--machines", "3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "1,000,000 samples, 3 machines" in done.stdout
    assert aws.leftovers() == []
    assert ec2.running() == []


def test_key_of_instance_is_compared_with_its_console(ec2, aws):
    phases = []

    class Watch:
        @bm.hookimpl
        def event(self, event):
            if isinstance(event, bm.BootProgress) and not event.total:
                phases.append(event.phase)

    with bm.Session("ec2", verify_boot=True, plugins=[Watch()]) as session:
        [machine] = start(session)
        assert machine.call("Echo.echo", 2) == 2
        assert phases[:3] == ["boot", "verify", "identify"]
        [id] = ids(ec2)
        assert f"key of {session.name}: " in ec2.console(id)

    class Elsewhere:  # somebody answers in the instance's place, so its console has another key
        @bm.hookimpl(wrapper=True)
        def console(self):
            text = yield

            async def read():
                return re.sub("(key of .*: ).*", r"\g<1>" + "0" * 64, await text)

            return read()

    class Impatient:
        @bm.hookimpl(wrapper=True)
        def setup(self):
            result = yield
            session.system.boot_timeout = 20.0
            return result

    session = bm.Session("ec2", verify_boot=True, plugins=[Elsewhere(), Impatient()], **BRISK)
    with session, pytest.raises(StartError, match="in phase verify: .* shows 0{64}"):
        start(session)
    assert aws.leftovers() == []


def test_worker_prepares_its_host(ec2, aws):
    with bm.Session("ec2") as session:
        [machine] = start(session)
        (soft, hard), scores, _ = machine.call("Echo.host")
        assert soft == min(hard, 1 << 20)  # the box may not raise its own limit
        assert scores == [1000, 0]  # the boot program outlives it, and says why it ended
        until(lambda: machine.call("Echo.host")[2] == "masked-runtime")
    assert aws.leftovers() == []


def test_killed_driver_leaves_nothing(ec2, aws, driver):
    driver.kill()
    until(lambda: not ec2.running())
    until(lambda: aws.leftovers() == [])


def test_driver_lost_with_its_computer_leaves_no_instance(ec2, aws, driver):
    driver.kill()
    os.kill(driver.reaper, signal.SIGKILL)
    until(lambda: not ec2.running())
    until(lambda: {vm.state for vm in aws.instances()} == {"terminated"})
    aws.replicas.chance = 0.0  # what was made so long ago is known to all of AWS
    # A group costs nothing, and is there for whoever looks.
    [group] = aws.leftovers()
    assert group.startswith("sg-")
    reaped = subprocess.run(["bigmachine", "reap", "ec2"], capture_output=True, text=True)
    assert reaped.returncode == 0, reaped.stderr
    assert f"security-group {group} is freed" in reaped.stdout
    assert aws.leftovers() == []


def test_interrupted_spot_instance_stops_its_machine_as_interrupted(ec2, aws):
    with bm.Session("ec2", market="spot", **BRISK) as session:
        first, second = start(session, 2)
        ec2.interrupt(ids(ec2)[0])
        with pytest.raises(MachineStopped, match="EC2 interrupted the spot instance") as caught:
            first.call("Echo.sleep", 60)
        assert caught.value.reason is StopReason.INTERRUPTED
        assert second.call("Echo.echo", 2) == 2
    assert aws.leftovers() == []


def test_spot_interruption_notice_reaches_the_driver(ec2, aws):
    told = []

    class Watch:
        @bm.hookimpl
        def event(self, event):
            if isinstance(event, bm.MachineNotice):
                told.append(event)

    with bm.Session("ec2", market="spot", plugins=[Watch()]) as session:
        _first, second = start(session, 2)
        ec2.notify(ids(ec2)[1], at="2027-01-01T10:00:00Z")
        until(lambda: told)
        [notice] = told
        assert (notice.machine, notice.kind) == (second.name, "interruption")
        assert notice.at.isoformat() == "2027-01-01T10:00:00+00:00"


def test_lost_host_is_detected_by_keepalive_and_terminated(ec2, aws):
    with bm.Session("ec2", **BRISK) as session:
        first, second = start(session, 2)
        ec2.lose(ids(ec2)[0])
        with pytest.raises(MachineStopped, match="silent") as caught:
            first.call("Echo.sleep", 60)
        assert caught.value.reason is StopReason.KEEPALIVE
        assert second.call("Echo.echo", 2) == 2
        until(lambda: aws.instances()[0].state == "terminated")
    assert aws.leftovers() == []


def test_disconnected_machine_powers_off_and_is_terminated(ec2, aws):
    with bm.Session("ec2", **BRISK) as session:
        [machine] = start(session)
        [id] = ids(ec2)
        ec2.cut(id)
        with pytest.raises(MachineStopped):
            machine.call("Echo.sleep", 60)
        until(lambda: not ec2.running())
    assert aws.leftovers() == []


def test_missing_capacity_of_one_market_comes_from_the_next(ec2, aws):
    for zone in "abcdef":
        aws.capacity[f"spot c7i.large us-east-1{zone}"] = 0
    aws.capacity["spot c7i.large us-east-1c"] = 1
    with bm.Session("ec2", instance_type="c7i.large") as session:
        machines = start(session, 2)
        assert [machine.call("Echo.echo", 3) for machine in machines] == [3, 3]
        markets = [vm.lifecycle or "on-demand" for vm in aws.instances()]
        assert sorted(markets) == ["on-demand", "spot"]
    assert aws.leftovers() == []


def test_no_capacity_at_all_is_an_error_and_leaves_nothing(ec2, aws):
    for market in ("spot", "on-demand"):
        for zone in "abcdef":
            aws.capacity[f"{market} c7i.large us-east-1{zone}"] = 0
    with (
        bm.Session("ec2", instance_type="c7i.large") as session,
        pytest.raises(StartError, match="(?s)spot c7i.large.*on-demand c7i.large") as caught,
    ):
        start(session, 2)
    assert "InsufficientInstanceCapacity" in str(caught.value)
    assert ec2.hosts == {}
    assert aws.leftovers() == []


def test_machine_shutdown_returns_after_termination(ec2, aws):
    with bm.Session("ec2") as session:
        first, second = start(session, 2)
        first.shutdown()
        assert [vm.state for vm in aws.instances()] == ["terminated", "running"]
        assert second.call("Echo.echo", 2) == 2
    assert ec2.running() == []
    # Their services have ended, so nothing is left to shut down.
    asked = aws.requests("TerminateInstances")
    assert [request["SkipOsShutdown"] for request in asked] == ["true", "true"]


def test_machine_listens_at_privileged_port_and_tells_how_to_log_in(ec2, aws, capfd):
    with bm.Session("ec2", port=443, ssh_key=KEY) as session:
        [machine] = start(session)
        assert machine.addr.partition("#")[0].endswith(":443")
        assert machine.call("Echo.echo", 2) == 2
        [id] = ids(ec2)
        shown = []

        def told():
            shown.append(capfd.readouterr().err)
            return re.search(r"to log in: ssh (\w+)@(\S+)\n", "".join(shown))

        user, address = until(told).groups()
        assert address == ec2.hosts[id].address
        assert KEY in ec2.run(id, "sh", "-c", f"cat ~{user}/.ssh/authorized_keys")
    assert aws.leftovers() == []


def test_machine_stays_if_its_driver_is_let_in_at_another_address(ec2, aws, monkeypatch):
    timings = {"keepalive_period": 5.0, "keepalive_timeout": 90.0, "rpc_timeout": 5.0}
    allowed = "IpPermissions.1.IpRanges.1.CidrIp"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(
            "bigmachine.system.cloud._driver_address.source_address", lambda _: "192.0.2.1"
        )
        with bm.Session("ec2", **timings) as session:
            [machine] = start(session)
            [id] = ids(ec2)
            elsewhere.undo()  # the driver moves, and its packets don't arrive any more
            ec2.cut(id)
            opened = until(lambda: aws.requests("AuthorizeSecurityGroupIngress")[1:])
            assert opened[0][allowed] != "192.0.2.1/32"
            [closed] = aws.requests("RevokeSecurityGroupIngress")
            assert closed[allowed] == "192.0.2.1/32"
            ec2.mend(id)
            assert machine.with_options(retry=True).call("Echo.echo", 2) == 2
            assert machine.state == bm.State.RUNNING
    assert aws.leftovers() == []
