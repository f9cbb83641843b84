"""Machines of ``gcp`` on hosts that really boot: whatever fails, nothing is left."""

from __future__ import annotations

import contextlib
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
from tests.support.gcp.gce import ZONE
from tests.support.gcp.instances import SHUTDOWN_SECONDS
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
        brisk = dict(keepalive_timeout=10, keepalive_period=2, rpc_timeout=3)
        with bm.Session("gcp", **brisk, **OPTIONS) as session:
            machines = session.start(2, services={"Echo": Echo()})
            print(machines[0].call("Echo.echo", 1), flush=True)
            print(session._session._reaper._process.pid, flush=True)
            sys.stdin.read()
"""

BRISK = {"keepalive_timeout": 10, "keepalive_period": 2, "rpc_timeout": 3}
"""Shorter keepalives, so that tests are faster."""
TYPE = "n2-standard-2"
UBUNTU = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2204-lts"


@pytest.fixture
def driver_of(gce_box, tmp_path):
    """Run a driver in a process of its own, with two machines; ``reaper`` is its reaper."""

    @contextlib.contextmanager
    def driver_of(**options):
        program = textwrap.dedent(PROGRAM).replace("OPTIONS", repr(options))
        (tmp_path / "main.py").write_text(program)
        with drivers.driver("main.py", cwd=tmp_path) as process:
            assert process.read_line() == "1"
            [process.reaper] = process.read_pids()
            yield process

    return driver_of


@pytest.fixture
def driver(driver_of):
    with driver_of() as process:
        yield process


def start(session, count=1):
    return session.start(count, services={"Echo": Echo()})


def names(gce):
    return [vm.name for vm in gce.vms()]


def test_bigpi_runs_unchanged(gce_box, gce):
    done = subprocess.run(
        ["bigpi", "--system", "gcp", "-n", "1000000", "--machines", "3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "1,000,000 samples, 3 machines" in done.stdout
    assert re.search(r"cost: .* \$0\.0", done.stdout)
    assert gce.leftovers() == []
    assert gce_box.running() == []


def test_image_with_cloud_init_boots_machines_too(gce_box, gce):
    with bm.Session("gcp", image=UBUNTU, verify_boot=True, **BRISK) as session:
        [machine] = start(session)
        assert machine.call("Echo.echo", 2) == 2
        [name] = names(gce)
        assert f"key of {session.name}: " in gce_box.hosts[name].console()
    assert gce.leftovers() == []


def test_killed_driver_leaves_nothing(gce_box, gce, driver):
    driver.kill()
    until(lambda: not gce_box.running())
    until(lambda: gce.leftovers() == [])


def test_driver_lost_with_its_computer_leaves_stopped_instances_to_reap(gce_box, gce, driver):
    driver.kill()
    os.kill(driver.reaper, signal.SIGKILL)
    until(lambda: not gce_box.running())
    until(lambda: {vm.status for vm in gce.vms()} == {"TERMINATED"})
    reaped = subprocess.run(["bigmachine", "reap", "gcp"], capture_output=True, text=True)
    assert reaped.returncode == 0, reaped.stderr
    assert gce.leftovers() == []


def test_instances_with_a_service_account_delete_themselves_without_driver(gce_box, gce, driver_of):
    with driver_of(service_account=gce.default_account) as driver:
        driver.kill()
        os.kill(driver.reaper, signal.SIGKILL)
        until(lambda: not gce_box.running())
        until(lambda: gce.vms() == [])
    assert {call.user for call in gce.calls("instances.delete")} == {gce.default_account}
    # A firewall rule costs nothing, and is there for whoever looks.
    [rule] = gce.leftovers()
    assert rule.startswith("firewall rule bm-")
    subprocess.run(["bigmachine", "reap", "gcp"], check=True)
    assert gce.leftovers() == []


def test_preempted_instance_stops_its_machine_as_interrupted(gce_box, gce):
    with bm.Session("gcp", market="spot", **BRISK) as session:
        first, second = start(session, 2)
        gce.preempt(_name_of(gce, first))
        gce.advance(SHUTDOWN_SECONDS)
        with pytest.raises(MachineStopped, match="preempted") as caught:
            first.call("Echo.sleep", 60)
        assert caught.value.reason is StopReason.INTERRUPTED
        assert second.call("Echo.echo", 2) == 2
    assert gce.leftovers() == []


def test_preemption_notice_reaches_the_driver(gce_box, gce):
    told = []

    class Watch:
        @bm.hookimpl
        def event(self, event):
            if isinstance(event, bm.MachineNotice):
                told.append(event)

    with bm.Session("gcp", market="spot", plugins=[Watch()]) as session:
        _first, second = start(session, 2)
        gce.preempt(_name_of(gce, second))  # in half a minute
        until(lambda: told)
        [notice] = told
        assert (notice.machine, notice.kind) == (second.name, "interruption")
        assert second.call("Echo.echo", 2) == 2


def test_lost_host_is_detected_by_keepalive_and_deleted(gce_box, gce):
    with bm.Session("gcp", **BRISK) as session:
        first, second = start(session, 2)
        lost = _name_of(gce, first)
        gce_box.lose(lost)
        with pytest.raises(MachineStopped, match="silent") as caught:
            first.call("Echo.sleep", 60)
        assert caught.value.reason is StopReason.KEEPALIVE
        assert second.call("Echo.echo", 2) == 2
        until(lambda: lost not in names(gce))
    assert gce.leftovers() == []


def test_disconnected_machine_powers_off_and_is_deleted(gce_box, gce):
    with bm.Session("gcp", **BRISK) as session:
        [machine] = start(session)
        gce_box.cut(_name_of(gce, machine))
        with pytest.raises(MachineStopped):
            machine.call("Echo.sleep", 60)
        until(lambda: not gce_box.running())
    assert gce.leftovers() == []


def test_missing_capacity_of_one_market_comes_from_the_next(gce_box, gce):
    gce.capacity[f"spot {TYPE} {ZONE}"] = 1
    with bm.Session("gcp", machine_type=TYPE) as session:
        machines = start(session, 2)
        assert [machine.call("Echo.echo", 3) for machine in machines] == [3, 3]
        markets = [vm.scheduling["provisioningModel"] for vm in gce.vms()]
        assert sorted(markets) == ["SPOT", "STANDARD"]
    assert gce.leftovers() == []


def test_no_capacity_at_all_is_an_error_and_leaves_nothing(gce_box, gce):
    for market in ("spot", "on-demand"):
        gce.capacity[f"{market} {TYPE} {ZONE}"] = 0
    with (
        bm.Session("gcp", machine_type=TYPE) as session,
        pytest.raises(StartError, match=f"(?s)spot {TYPE}.*on-demand {TYPE}") as caught,
    ):
        start(session, 2)
    assert "ZONE_RESOURCE_POOL_EXHAUSTED" in str(caught.value)
    assert gce_box.running() == []
    assert gce.leftovers() == []


def test_machine_shutdown_returns_after_deletion(gce_box, gce):
    with bm.Session("gcp") as session:
        first, second = start(session, 2)
        first.shutdown()
        assert [vm.status for vm in gce.vms()] == ["RUNNING"]
        assert second.call("Echo.echo", 2) == 2
    assert gce_box.running() == []


def test_machine_listens_at_privileged_port_and_lets_log_in(gce_box, gce):
    with bm.Session("gcp", port=443, ssh_key=KEY) as session:
        [machine] = start(session)
        assert machine.addr.partition("#")[0].endswith(":443")
        assert machine.call("Echo.echo", 2) == 2
        items = gce.vms()[0].document["metadata"]["items"]
        keys = next(item["value"] for item in items if item["key"] == "ssh-keys")
        assert KEY.split()[1] in keys
    assert gce.leftovers() == []


def test_machine_stays_if_its_driver_is_let_in_at_another_address(gce_box, gce, monkeypatch):
    timings = {"keepalive_period": 5.0, "keepalive_timeout": 90.0, "rpc_timeout": 5.0}
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(
            "bigmachine.system.cloud._driver_address.source_address", lambda _: "192.0.2.1"
        )
        with bm.Session("gcp", **timings) as session:
            [machine] = start(session)
            name = _name_of(gce, machine)
            elsewhere.undo()  # the driver moves, and its packets don't arrive any more
            gce_box.cut(name)
            changed = until(lambda: gce.calls("firewalls.patch"))
            assert "192.0.2.1/32" not in changed[-1].body["sourceRanges"]
            gce_box.mend(name)
            assert machine.with_options(retry=True).call("Echo.echo", 2) == 2
            assert machine.state == bm.State.RUNNING
    assert gce.leftovers() == []


def _name_of(gce, machine):
    """Return the name of a machine's instance."""
    address = machine.addr.partition("#")[0].rpartition(":")[0].removeprefix("https://")
    [name] = [
        vm.name for vm in gce.vms() if vm.document["networkInterfaces"][0]["networkIP"] == address
    ]
    return name
