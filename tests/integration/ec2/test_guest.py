"""The setup of instances: data disks, files and units; and immortal instances."""

from __future__ import annotations

import base64
import gzip
import shutil
import textwrap
from pathlib import Path

import pytest

from bigmachine.environment._tools import find_pip, find_uv
from bigmachine.errors import StartError, UsageError
from bigmachine_ec2 import Ec2System
from tests.integration.ec2.test_life import states
from tests.support import vms as vms_folder
from tests.support.lean_environment import lean_environ
from tests.support.vms.projects import run_project
from tests.support.volumes import needs_loops, volumes

needs_builder = pytest.mark.skipif(
    not (find_uv() or find_pip()),
    reason="editable packages are built by uv or pip: neither is here",
)

# -- options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_disk": -1}, "data_disk: must be 4 to 262144 GiB on 4 volumes, or 0 for none"),
        ({"data_disk": 100, "data_volumes": 12}, "data_volumes: must be 1 to 11"),
        ({"files": ["/etc/motd"]}, "files: must be /PATH/THERE=path/here, not '/etc/motd'"),
        ({"units": ["/nowhere/x.service"]}, "units: /nowhere/x.service: No such file or dir"),
    ],
)
def test_invalid_options_are_refused_without_a_request_to_aws(run, aws, options, message):
    async def test(kit):
        with pytest.raises(UsageError) as caught:
            await kit.setup()
        assert message in str(caught.value)
        assert not aws.asked

    run(test, **options)


@pytest.mark.parametrize("way", ["fleet", pytest.param("run", marks=pytest.mark.long)])
def test_data_disk_volumes_are_deleted_with_the_instance(run, aws, one_offer, way):
    async def test(kit):
        await kit.start()
        assert disks(aws) == {
            "/dev/xvda": (20, "gp3", True),
            **dict.fromkeys(("/dev/sdf", "/dev/sdg", "/dev/sdh"), (34, "gp3", True)),
        }
        for volume in aws.ec2.volumes.values():
            assert "bigmachine:session" in dict(tags(volume))
        assert kit.system.guest_setup.volumes == ("/dev/sdf", "/dev/sdg", "/dev/sdh")

    run(test, data_disk=100, data_volumes=3, **(one_offer if way == "run" else {}))


def test_without_a_data_disk_there_is_only_the_root_disk(run, aws):
    async def test(kit):
        await kit.start()
        assert disks(aws) == {"/dev/xvda": (20, "gp3", True)}
        assert kit.system.guest_setup.volumes == ()

    run(test)


def test_local_disks_are_set_up_on_the_machine_and_not_requested(run, aws, one_offer):
    async def test(kit):
        await kit.start()
        assert disks(aws) == {"/dev/xvda": (20, "gp3", True)}
        assert kit.system.guest_setup.local_disks
        assert kit.system.guest_setup.volumes == ()

    run(test, local_disks=True, **{**one_offer, "instance_type": "m5d.large"})


def tags(thing):
    return [(tag["key"], tag["value"]) for tag in thing.get_tags()]


def disks(aws):
    """Return size in GiB, type, and delete-on-termination of an instance's volumes, by name."""
    [vm] = aws.instances()
    return {
        name: (disk.size, aws.ec2.volumes[disk.volume_id].volume_type, disk.delete_on_termination)
        for name, disk in vm.block_device_mapping.items()
    }


# -- with a real worker ---------------------------------------------------------------

SERVICES = """
    import os, subprocess, sys, tempfile

    class Places:
        def temporary(self):
            child = "import tempfile; print(tempfile.gettempdir())"
            return tempfile.gettempdir(), subprocess.getoutput(f"{sys.executable} -c '{child}'")

        def read(self, path):
            with open(path) as file:
                return file.read()
"""

PROGRAM = """
    import copy, json, sys
    import bigmachine as bm
    from bigmachine_ec2 import Ec2Options, Ec2System
    from bigmachine_ec2.guest._guest_setup import Ec2GuestSetup, read_guest_setup
    from services import Places
    from vms import VmSystem

    class Ec2OnVms(VmSystem):
        "VMs of this computer, which are machines of the ec2 system."
        def __init__(self, guest):
            super().__init__()
            self.there = Ec2System(Ec2Options())
            self.there.guest_setup = guest
        def __reduce__(self):
            return copy.copy, (self.there,)  # what arrives

    def good(path, device, folder):
        read = read_guest_setup(Ec2Options(files=(f"{path}=services.py",)))
        guest = Ec2GuestSetup((device,), folder, files=read.files)
        with bm.Session(Ec2OnVms(guest)) as session:
            [machine] = session.start(1, services={"Places": Places()})
            return machine.call("Places.temporary"), machine.call("Places.read", path)

    def bad(path):
        guest = read_guest_setup(Ec2Options(files=(f"{path}=services.py",)))
        with bm.Session(Ec2OnVms(guest)) as session:
            try:
                session.start(1, services={"Places": Places()})
            except bm.StartError as exc:
                return str(exc)

    if __name__ == "__main__":
        print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
"""


@pytest.fixture
def drive(tmp_path):
    """Run a scene of the program, whose machines are simulated VMs."""
    folder = tmp_path / "project"
    (tmp_path / "disks").mkdir()
    folder.mkdir()
    (folder / "services.py").write_text(textwrap.dedent(SERVICES))
    (folder / "main.py").write_text(textwrap.dedent(PROGRAM))
    shutil.copy(Path(vms_folder.__file__).with_name("vms.py"), folder)

    def drive(*scene):
        lean = lean_environ("bigmachine-ec2", but=("boto3",))  # boto3 is the driver's alone
        return run_project(folder, *scene, TMPDIR=str(tmp_path / "disks"), **lean)

    return drive


@needs_builder
@needs_loops
@pytest.mark.long
def test_worker_sets_up_its_machine_before_it_serves(drive, tmp_path):
    with volumes(tmp_path) as [device]:
        file, data = tmp_path / "etc" / "some.conf", tmp_path / "data"
        temporary, text = drive("good", file, device, data)
        assert temporary == [f"{data}/tmp"] * 2
        assert text == textwrap.dedent(SERVICES)


@pytest.mark.long
@needs_builder
def test_boot_error_says_why_the_setup_failed(drive):
    story = drive("bad", "/proc/nowhere/x")
    assert "the worker ended with status 1" in story
    assert "the machine's setup failed: can't write /proc/nowhere/x: No such file" in story
    assert "Traceback" not in story


# -- immortals ------------------------------------------------------------------------


@pytest.mark.usefixtures("consistent")
def test_immortal_instances_outlive_their_session_with_a_warning(run, aws, caplog):
    ids = []

    async def test(kit):
        instances = await kit.start(2)
        ids.extend(instance.id for instance in instances)
        [told] = [record.getMessage() for record in caplog.records]
        for index, id in enumerate(ids):
            assert f"m{index} ({id})" in told
        assert "immortal" in told
        assert f"bigmachine reap ec2 {kit.request.session}" in told
        caplog.clear()
        for instance in instances:
            await kit.system.stop(instance)
        await kit.system.shutdown()
        assert states(aws) == ["running", "running"]
        assert aws.count("TerminateInstances") == aws.count("DeleteSecurityGroup") == 0
        [told] = [record.getMessage() for record in caplog.records]
        assert "LEAVES RUNNING" in told
        assert all(id in told for id in ids)
        assert f"bigmachine reap ec2 {kit.request.session}" in told
        assert "until their lifetime of 3600 s ends" in told
        await kit.system.shutdown()
        assert states(aws) == ["running", "running"]
        # Whoever reaps is another process, and perhaps of the same profile.
        other = Ec2System(kit.options)
        for found in await other.instances():
            assert found.details["session"] == kit.request.session
            is_machine = found.details["kind"] == "instance"
            assert ("immortal" in found.details) == is_machine
            await other.stop(found)
        await other.shutdown()
        assert states(aws) == ["terminated", "terminated"]

    run(test, immortal=True, lifetime=3600.0)


@pytest.mark.parametrize("way", ["fleet", pytest.param("run", marks=pytest.mark.long)])
def test_immortal_instances_are_tagged_and_do_not_power_off(run, aws, one_offer, way):
    async def test(kit):
        [instance] = await kit.start()
        [vm] = aws.instances()
        for thing in (vm, *aws.ec2.volumes.values()):
            assert ("bigmachine:immortal", "yes") in tags(thing)
        assert way == "fleet" or len(tags(vm)) == 50  # EC2's limit
        assert vm.instance_initiated_shutdown_behavior == "terminate"  # by hand, say
        assert b'"poweroff": []' in gzip.decompress(base64.b64decode(str(vm.user_data)))
        kit.system.resources.ids.clear()
        await kit.system.stop(instance)

    most_tags = {"tags": [f"k{number}=" for number in range(39)], "port": 443}
    options = {**one_offer, **most_tags} if way == "run" else {}
    run(test, immortal=True, lifetime=3600.0, **options)


@pytest.mark.usefixtures("consistent")
def test_ended_immortal_instance_is_not_reported_as_running(run, aws, caplog):
    async def test(kit):
        one, other = await kit.start(2)
        aws.power_off(one.id)
        await kit.system.shutdown()
        told = caplog.records[-1].getMessage()
        assert other.id in told
        assert one.id not in told
        kit.system.resources.session = kit.request.session
        aws.power_off(other.id)
        await kit.system.shutdown()

    run(test, immortal=True, lifetime=3600.0)


def test_immortal_instance_not_yet_found_is_left(run, aws):
    async def test(kit):
        await kit.start(2)
        aws.replicas.miss("instances", times=2)
        await kit.system.shutdown()
        assert [vm.state for vm in aws.instances()] == ["running"] * 2
        for vm in aws.instances():
            aws.power_off(vm.id)
        kit.system.resources.session = kit.request.session
        await kit.system.shutdown()

    run(test, immortal=True, lifetime=3600.0)


def test_instances_of_a_failed_start_are_not_immortal(run, aws, monkeypatch):
    monkeypatch.setattr("bigmachine.cloud.launch._await_up._TIMEOUT", 0.0)
    aws.answers_until_running = 1000

    async def test(kit):
        with pytest.raises(StartError, match="EC2 assigned no address"):
            await kit.start()
        assert states(aws) == ["terminated"]

    run(test, immortal=True, lifetime=3600.0)


@pytest.mark.usefixtures("consistent")
def test_mortal_instances_are_not_tagged_immortal_and_not_left(run, aws, caplog):
    async def test(kit):
        await kit.start()
        [vm] = aws.instances()
        assert "bigmachine:immortal" not in dict(tags(vm))
        assert not any("immortal" in found.details for found in await kit.system.instances())
        await kit.system.shutdown()
        assert states(aws) == ["terminated"]
        assert "immortal" not in caplog.text

    run(test)
