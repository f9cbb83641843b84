"""Machines boot on hosts that have only python3 and cloud-init, and no package index."""

from __future__ import annotations

import gzip
import json
import os
import re
import ssl
import time
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from bigmachine.boot import PORT
from bigmachine.boot.vm.tls import private_key_pem
from bigmachine.environment import capture
from bigmachine.environment._tools import find_uv
from tests.support import vms as vms_folder
from tests.support.cloudbox import Box, Ec2, Host
from tests.support.cloudbox.fixtures import InBox
from tests.support.paths import fresh_path
from tests.support.vms.box_cloud import BoxCloud, Driver, driver
from tests.support.vms.index import Index, pack_uv
from tests.support.vms.projects import make_project, needs_builder
from tests.unit.environment.kit import write_wheel

pytestmark = [needs_builder, pytest.mark.root, pytest.mark.long, pytest.mark.timeout(300)]

IMAGE_PYTHON = "3.11"
OFF_SECONDS = 60.0  # the most that is allowed with the timings of `BoxSystem`
PHASES = ["boot", "identify", "upload", "build", "start"]

PROGRAM = """
    import json, os, sys, time
    import bigmachine as bm
    from box_system import BoxOptions, BoxSystem

    began = time.monotonic()

    def say(**fields):
        print(json.dumps({"at": time.monotonic() - began, **fields}), flush=True)

    def damage():
        before = os.stat("model.bin")
        with open("model.bin", "r+b") as file:
            file.write(b"damaged")
        os.utime("model.bin", ns=(before.st_atime_ns, before.st_mtime_ns))

    class Watch:
        @bm.hookimpl
        def event(self, event):
            if isinstance(event, bm.BootProgress):
                if event.phase == "identify" and "damage" in sys.argv:
                    damage()
                say(phase=event.phase, done=event.done, total=event.total)
            elif isinstance(event, bm.MachineChanged):
                say(phase=event.state.name)

    class Reporter:
        def report(self):
            import bigmachine, h11, numpy
            from helpers.deep import answer
            return {
                "answer": answer(),
                "numpy": float(numpy.ones(3).sum()),
                "bigmachine": bigmachine.__file__,
                "h11": h11.__version__,
                "data": open("data.txt").read(),
            }

    if __name__ == "__main__":
        options = BoxOptions(endpoint=sys.argv[1], keeps_hosts="keeps_hosts" in sys.argv)
        with bm.Session(BoxSystem(options), plugins=[Watch()]) as session:
            began = time.monotonic()
            [machine] = session.start(1, services={"Reporter": Reporter()})
            say(report=machine.call("Reporter.report"))
            for line in sys.stdin:
                try:
                    say(report=machine.call("Reporter.report"))
                except bm.MachineStopped as error:
                    say(error=str(error))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(
        tmp_path / "project", PROGRAM, Path(vms_folder.__file__).with_name("box_system.py")
    )


@pytest.fixture
def in_cloud(in_box: InBox) -> Callable[..., Any]:
    """Run an async function with a cloud in a box."""

    def run(main: Callable[[BoxCloud], Awaitable[Any]], **options: Any) -> Any:
        async def whole(box: Box) -> Any:
            async with BoxCloud(box, **options).serving() as cloud:
                return await main(cloud)

        return in_box(whole)

    return run


InCloud = Callable[..., Any]


def only(hosts: dict[str, Host]) -> Host:
    [host] = hosts.values()
    return host


async def reach(program: Driver, phase: str) -> dict[str, Any]:
    """Wait until a phase has begun; of an upload or a build, until its size is known."""
    reached = await program.until(phase=phase)
    while reached.get("total") == 0 and phase in ("upload", "build"):
        reached = await program.until(phase=phase)
    return reached


async def wait_off(host: Host) -> None:
    """Wait until a host has powered itself off."""
    with trio.fail_after(OFF_SECONDS):
        await host.wait_off()


def seconds_of(program: Driver) -> dict[str, float]:
    """Return the seconds that each phase took."""
    began: dict[str, float] = {}
    for message in program.messages:
        began.setdefault(message.get("phase", "report"), message["at"])
    ends = dict(zip(began, list(began.values())[1:], strict=False))
    return {phase: round(end - began[phase], 2) for phase, end in ends.items()}


def test_host_with_only_python_runs_program_with_its_imports(
    in_cloud: InCloud, project: Path
) -> None:
    async def main(cloud: BoxCloud) -> None:
        async with driver(project, cloud) as program:
            report = (await program.until(report=...))["report"]
            assert report["answer"] == 42
            assert report["numpy"] == 3.0
            assert report["data"] == "some data"
            assert report["bigmachine"].startswith("/var/lib/bigmachine/environments/")
            [running] = [m for m in program.messages if m.get("phase") == "RUNNING"]
            print("seconds:", seconds_of(program), "from start to RUNNING:", running["at"])
            assert await program.end() == 0
            phases = list(dict.fromkeys(m["phase"] for m in program.messages if "phase" in m))
            assert phases == ["STARTING", *PHASES, "RUNNING", "STOPPED"]
        await wait_off(only(cloud.hosts))

    in_cloud(main)


def test_host_installs_from_index_and_gets_rest_from_driver(
    in_cloud: InCloud, project: Path, tmp_path: Path
) -> None:
    if find_uv() is None:
        pytest.skip("there is no uv to offer")

    async def main(cloud: BoxCloud) -> None:
        with Index(tmp_path / "index", host=f"{cloud.box.subnet}.1") as index:
            index.add(pack_uv(tmp_path))
            environment = capture(project, path=[str(project), *fresh_path()])
            for entry in environment.manifest(wheels="all")["distributions"]:
                if entry["index"]:
                    index.add(environment.blob(entry["wheel"]["sha256"]).path)
            cloud.files["etc/pip.conf"] = f"[global]\ntrusted-host = {cloud.box.subnet}.1".encode()
            settings = {"PIP_INDEX_URL": index.url, "UV_DEFAULT_INDEX": index.url}
            async with driver(project, cloud, **settings) as program:
                report = (await program.until(report=...))["report"]
                assert report["numpy"] == 3.0
                print("seconds:", seconds_of(program))
                phases = [m["phase"] for m in program.messages if "phase" in m]
                assert [*dict.fromkeys(phases)] == ["STARTING", *PHASES, "RUNNING"]
                uploads = [m for m in program.messages if m.get("phase") == "upload"]
                [size] = {m["total"] for m in uploads} - {0}
                assert size < 4 << 20  # pip and the editable distributions
                assert any(path.startswith("/simple/numpy/numpy-") for path in index.requested)

    in_cloud(main)


def test_environment_on_kept_host_is_neither_sent_nor_built_again(
    in_cloud: InCloud, project: Path
) -> None:
    async def main(cloud: BoxCloud) -> None:
        took = []
        for _ in range(2):
            async with driver(project, cloud, "keeps_hosts") as program:
                await program.until(report=...)
                took.append(seconds_of(program))
                sent = [m["done"] for m in program.messages if m.get("phase") == "upload"]
                assert await program.end() == 0
            cloud.kept = next(iter(cloud.hosts.values()))
            await cloud.kept.wait_console("ending: ")
        print("seconds:", took)
        assert sent == [0]
        assert took[1]["build"] < took[0]["build"] / 2

    in_cloud(main)


@pytest.mark.parametrize("phase", ["boot", "upload", "build", "RUNNING"])
def test_host_powers_off_after_driver_is_killed(
    in_cloud: InCloud, project: Path, phase: str
) -> None:
    async def main(cloud: BoxCloud) -> None:
        async with driver(project, cloud) as program:
            reached = await reach(program, phase)
            assert not reached.get("total") or reached["done"] < reached["total"]
        killed = time.monotonic()
        await wait_off(only(cloud.hosts))
        print(f"killed in {phase}: off after {time.monotonic() - killed:.1f} s")

    in_cloud(main)


@pytest.mark.parametrize("phase", ["upload", "RUNNING"])
def test_machine_survives_short_link_failure_but_not_long_one(
    in_cloud: InCloud, project: Path, phase: str
) -> None:
    async def main(cloud: BoxCloud) -> None:
        async with driver(project, cloud) as program:
            await reach(program, phase)
            host = only(cloud.hosts)
            await host.cut()
            await trio.sleep(10 / 3)  # of a keepalive timeout of 10
            await host.mend()
            await program.until(report=...)
            cloud.delete_delay = OFF_SECONDS
            await host.cut()
            await program.ask()
            error = (await program.until(error=...))["error"]
            assert "it was silent for" in error or "its host is powered off" in error
            await wait_off(host)
            assert "ending: " in host.console()  # it powered itself off

    in_cloud(main)


def test_link_failure_during_upload_is_boot_error_and_host_powers_off(
    in_cloud: InCloud, project: Path
) -> None:
    async def main(cloud: BoxCloud) -> None:
        async with driver(project, cloud) as program:
            await reach(program, "upload")
            await only(cloud.hosts).cut()
            assert await program.end() == 1
            assert "BootError" in program.errors
            # The upload may end before the cable is cut.
            assert re.search("in phase (upload|build): ", program.errors)
            assert "it was silent for" in program.errors
        await wait_off(only(cloud.hosts))

    in_cloud(main)


@pytest.mark.parametrize(
    ("disk_mib", "phase", "words"),
    [(60, "upload", "the disk is full"), (130, "build", "No space left on device")],
    ids=["before upload", "during build"],
)
def test_full_disk_is_boot_error_that_names_it(
    in_cloud: InCloud, project: Path, disk_mib: int, phase: str, words: str
) -> None:
    # Its files are larger than either disk, but its wheel is small, so this is not known before.
    site = project.parent / "site"
    wheel = write_wheel(project.parent, "zeros", "1.0", {"zeros.txt": "0" * (250 << 20)})
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)

    async def main(cloud: BoxCloud) -> None:
        async with driver(project, cloud, PYTHONPATH=str(site)) as program:
            assert await program.end() == 1
            assert re.search(rf"BootError: .* in phase {phase}: .*{words}", program.errors)
        await wait_off(only(cloud.hosts))

    in_cloud(main, disk_bytes=disk_mib << 20)


def test_file_damaged_in_transit_is_refused(in_cloud: InCloud, project: Path) -> None:
    # As after a disk error: the file that is sent has the size and time of the one that was hashed.
    (project / "model.bin").write_bytes(os.urandom(4 << 20))

    async def main(cloud: BoxCloud) -> None:
        async with driver(project, cloud, "damage") as program:
            assert await program.end() == 1
            assert "BootError" in program.errors
            assert "model.bin of folder project was damaged on its way 2 times" in program.errors
        await wait_off(only(cloud.hosts))

    in_cloud(main)


async def read_blobs(host: Host, context: ssl.SSLContext) -> None:
    stream = await trio.open_ssl_over_tcp_stream(host.address, PORT, ssl_context=context)
    async with stream.transport_stream:
        await stream.send_all(b"GET /blobs/0 HTTP/1.1\r\n\r\n")
        # In TLS 1.3 a client learns only by reading that it is refused.
        await stream.receive_some()


def test_boot_credential_is_useless_after_handover(in_cloud: InCloud, project: Path) -> None:
    async def main(cloud: BoxCloud) -> None:
        async with driver(project, cloud) as program:
            await program.until(phase="RUNNING")
            host = only(cloud.hosts)
            assert isinstance(host.cloud, Ec2)
            [stolen] = re.findall(
                rb"boot.json <<'BIGMACHINE'\n(.*)", gzip.decompress(host.cloud.user_data or b"")
            )
            credential = json.loads(stolen)
            pem = project.parent / "stolen.pem"
            pem.write_text(credential["certificate"] + private_key_pem(int(credential["key"], 16)))
            for certificate in (pem, None):
                context = ssl.create_default_context(cadata=credential["authority"])
                context.check_hostname = False
                if certificate:
                    context.load_cert_chain(certificate)
                with pytest.raises(trio.BrokenResourceError) as refused:
                    await read_blobs(host, context)
                assert "alert" in str(refused.value.__cause__)
            await program.ask()
            await program.until(report=...)

    in_cloud(main)


def test_distribution_missing_on_index_and_driver_is_named(
    in_cloud: InCloud, project: Path
) -> None:
    # The list of its files is missing, as in Debian's packages.
    ghost = project.parent / "site" / "ghost-1.0.dist-info"
    ghost.mkdir(parents=True)
    (ghost / "METADATA").write_text("Metadata-Version: 2.1\nName: ghost\nVersion: 1.0\n")

    async def main(cloud: BoxCloud) -> None:
        async with driver(project, cloud, PYTHONPATH=str(ghost.parent)) as program:
            assert await program.end() == 1
            assert re.search(
                "BootError: .* in phase upload: .*wheels can't be made: .*ghost", program.errors
            )
        await wait_off(only(cloud.hosts))

    in_cloud(main)
