"""Machines of ``azure`` on hosts that really boot: whatever fails, nothing is left, or billed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import textwrap

import pytest

import bigmachine as bm
from bigmachine.errors import MachineStopped, StopReason
from tests.support import drivers
from tests.support.aws.echo import Echo
from tests.support.azure.entra import DRIVER
from tests.support.azure.fixtures import own_identity
from tests.support.azure.vm_lives import EVICTION_SECONDS
from tests.support.public_keys import KEY
from tests.support.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(300)]

PROGRAM = """
    import json, sys, time
    import bigmachine as bm

    class Echo:
        def echo(self, value):
            return value

    if __name__ == "__main__":
        brisk = dict(keepalive_timeout=10, keepalive_period=2, rpc_timeout=3)
        with bm.Session("azure", **brisk, **OPTIONS) as session:
            [machine] = session.start(1, services={"Echo": Echo()})
            print(machine.call("Echo.echo", 1), flush=True)
            print(session._session._reaper._process.pid, flush=True)
            sys.stdin.read()
"""
BRISK = {"keepalive_timeout": 10, "keepalive_period": 2, "rpc_timeout": 3}
"""Shorter keepalives, so that tests are faster."""


class Watch:
    """Notes what a provider tells its machines."""

    def __init__(self) -> None:
        self.notices = []

    @bm.hookimpl
    def event(self, event):
        if isinstance(event, bm.MachineNotice):
            self.notices.append((event.machine, event.kind))


def test_bigpi_runs_unchanged(azure_box, arm):
    done = subprocess.run(
        ["bigpi", "--system", "azure", "-n", "1000000", "--machines", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "1,000,000 samples, 2 machines" in done.stdout
    assert re.search(r"cost: .* \$0\.0", done.stdout)
    assert arm.leftovers() == []
    assert azure_box.running() == []
    assert arm.meter.rate == 0.0
    assert arm.meter.total > 0.0


def test_whatever_happens_to_one_machine_the_others_run_and_all_are_deleted(azure_box, arm):
    watch = Watch()
    options = {"market": "spot", "port": 443, "ssh_key": KEY, "verify_boot": True}
    with bm.Session("azure", plugins=[watch], **options, **BRISK) as session:
        evicted, cut, lost, kept = session.start(4, services={"Echo": Echo()})
        assert all(machine.addr.partition("#")[0].endswith(":443") for machine in session.machines)

        arm.vms.evict(_name_of(arm, evicted))
        until(lambda: watch.notices)
        assert watch.notices == [(evicted.name, "interruption")]
        arm.advance(EVICTION_SECONDS)
        azure_box.cut(_name_of(arm, cut))
        azure_box.lose(_name_of(arm, lost))

        with pytest.raises(MachineStopped, match="a spot VM is deleted") as caught:
            evicted.call("Echo.sleep", 60)
        assert caught.value.reason is StopReason.INTERRUPTED
        for machine in (cut, lost):
            with pytest.raises(MachineStopped, match="silent") as caught:
                machine.call("Echo.sleep", 60)
            assert caught.value.reason is StopReason.KEEPALIVE
        until(lambda: len(arm.vms.all) == 1)
        assert kept.call("Echo.echo", 2) == 2
        kept.shutdown()
        assert arm.vms.all == {}  # it returns after the deletion
    assert arm.leftovers() == []


def test_meter_stands_still_when_drivers_are_killed(azure_box, arm, tmp_path):
    own = own_identity(arm)
    with contextlib.ExitStack() as stack:

        def start(name, **options):
            """Run a driver in a process of its own, with a machine."""
            folder = tmp_path / name
            folder.mkdir()
            program = textwrap.dedent(PROGRAM).replace("OPTIONS", repr(options))
            (folder / "main.py").write_text(program)
            return stack.enter_context(drivers.driver("main.py", cwd=folder))

        reaped = start("reaped")
        lost = start("lost")
        leaking = start("leaking", identity="", allow_billing_leak=True)
        for driver in (reaped, lost, leaking):
            assert driver.read_line() == "1"
            [driver.reaper] = driver.read_pids()
        reaped.kill()
        for driver in (lost, leaking):  # with the computer that it runs on
            driver.kill()
            os.kill(driver.reaper, signal.SIGKILL)

        until(lambda: not azure_box.running())
        until(lambda: len(arm.vms.all) == 1)
        [stopped] = arm.vms.all.values()
        assert (stopped.power, stopped.document.get("identity")) == ("stopped", None)
        assert arm.meter.stopped_but_billed() == [stopped.name]
        assert arm.meter.rate > 0
        [machine] = {call.user.id for call in arm.calls("virtual_machines.delete")} - {DRIVER.id}
        assert machine == arm.resources.find(own)["properties"]["principalId"]

        arm.chance.probability = 0.0  # it knows all power states
        listed = subprocess.run(["bigmachine", "ps", "azure"], capture_output=True, text=True)
        assert "stopped, billed" in listed.stdout
        subprocess.run(["bigmachine", "reap", "azure"], check=True)
        assert arm.leftovers() == []
        assert arm.meter.rate == 0.0


def _name_of(arm, machine):
    """Return the name of a machine's virtual machine."""
    address = machine.addr.partition("#")[0].rpartition(":")[0].removeprefix("https://")
    [name] = [
        vm.name
        for vm in arm.vms.all.values()
        for nic in arm.interfaces.of_vm(vm.id)
        if nic["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] == address
    ]
    return name
