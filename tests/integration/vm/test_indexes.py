"""What a package index has, machines get from it; and what it hasn't, from the driver."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from bigmachine._identity import Authority
from bigmachine._values import Instance, Keepalive, Termination
from bigmachine.boot._bootstrap import BootBatch, Bootstrap, PhaseFailed
from bigmachine.boot._bundle import builder_source
from bigmachine.boot.vm.tools import without_secrets
from bigmachine.environment import Environment, Target, capture
from bigmachine.environment._tools import find_uv
from bigmachine.errors import StopReason
from bigmachine.machine._log import MachineLog
from bigmachine.rpc import http_client
from tests.support.vms.index import HOST, Index, pack_uv
from tests.support.vms.vms import NOWHERE, Vm
from tests.unit.boot.test_program import boot_of, manifest_of, rig, wheel
from tests.unit.boot.test_relays import CountedShipment
from tests.unit.environment.kit import write_files, write_wheel

pytestmark = pytest.mark.skipif(find_uv() is None, reason="there is no uv")

TIMINGS = Keepalive(period=1.0, timeout=20.0, rpc_timeout=5.0)
SETTINGS = (
    "UV_DEFAULT_INDEX UV_INDEX_URL UV_INDEX UV_EXTRA_INDEX_URL UV_INDEX_STRATEGY "
    "UV_PYTHON_INSTALL_MIRROR PIP_INDEX_URL PIP_EXTRA_INDEX_URL"
)


@pytest.fixture(scope="session")
def uv_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_uv(tmp_path_factory.mktemp("uv"))


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in SETTINGS.split():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Two distributions of an index, one that is of none, and a program."""
    site = tmp_path / "site"
    for name, version in (("one", "1.0"), ("two", "2.0"), ("mine", "0.1")):
        code = {f"{name}.py": f"version = {version!r}\n" + "#" * 1000}
        with zipfile.ZipFile(write_wheel(tmp_path, name, version, code)) as archive:
            archive.extractall(site)
    direct = {"url": f"file://{tmp_path}/mine", "dir_info": {}}
    (site / "mine-0.1.dist-info" / "direct_url.json").write_text(json.dumps(direct))
    project = write_files(tmp_path / "project", {"run.py": "import one, two, mine\n"})
    monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
    return capture(project, path=[str(project), str(site)])


@pytest.fixture
def index(tmp_path: Path, uv_wheel: Path) -> Iterator[Index]:
    with Index(tmp_path / "index") as index:
        index.add(uv_wheel)
        yield index


def set_index(environment: Environment, url: str, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Return the same environment, captured by a driver that has that index."""
    monkeypatch.setenv("PIP_INDEX_URL", url)
    paths = [str(folder.path) for folder in environment.folders]
    return capture(paths[0], path=[*paths, str(environment.distributions[0].site)])


def wheels_of(environment: Environment) -> dict[str, Path]:
    """Pack everything, as for a machine that has no index."""
    manifest = environment.manifest(wheels="all")
    return {
        d["name"]: environment.blob(d["wheel"]["sha256"]).path for d in manifest["distributions"]
    }


def offer_all(
    environment: Environment, index: Index, monkeypatch: pytest.MonkeyPatch
) -> Environment:
    """Have an index offer all that is installed; return the environment of a driver that has it."""
    for file in wheels_of(environment).values():
        index.add(file)
    return set_index(environment, index.url, monkeypatch)


@dataclass
class Machine:
    """A VM that booted, and what was told of it."""

    vm: Vm
    shipment: CountedShipment
    phases: list[str] = field(default_factory=list)
    log: str = ""
    error: str = ""

    def files(self) -> Iterator[Path]:
        """List what is on its disk."""
        return (path for path in self.vm.disk.rglob("*") if path.is_file())


@contextlib.asynccontextmanager
async def booted(
    environment: Environment, *, uv: bool = False, **changes: Any
) -> AsyncIterator[Machine]:
    """Boot a machine as far as its worker, which there is none of."""
    authority = Authority("test.bigmachine")
    boot = boot_of(authority, timeout=TIMINGS.timeout)
    manifest = await trio.to_thread.run_sync(environment.manifest)
    CountedShipment.sent_bytes = 0
    machine = Machine(Vm(), CountedShipment(environment, {**manifest, **changes}))
    if uv:
        (machine.vm.disk / "bin" / "uv").symlink_to(shutil.which("uv") or "")

    async def why() -> Termination | None:
        return Termination(StopReason.EXITED, "it is off") if machine.vm.is_off else None

    def progress(phase: str, done: int, of: int) -> None:
        if machine.phases[-1:] != [phase]:
            machine.phases.append(phase)

    def output(lines: Sequence[bytes]) -> None:
        machine.log += "".join(f"{line.decode()}\n" for line in lines)

    try:
        await machine.vm.power_on(boot)
        async with http_client(authority.issue("driver")) as http, trio.open_nursery() as nursery:
            nursery.start_soon(machine.shipment.pack)
            bootstrap = Bootstrap(
                Instance(boot.new_machine().name, machine.vm.address),
                batch=BootBatch(boot, machine.shipment),
                http=http,
                timings=TIMINGS,
                boot_timeout=30,
                build_timeout=60,
                diagnose=why,
                on_progress=progress,
                log=MachineLog(output),
            )
            try:
                await bootstrap.run()
            except PhaseFailed as exc:
                machine.error = str(exc)
            yield machine
    finally:
        await machine.vm.destroy()


DIRECTLY = ["boot", "identify", "upload", "build", "start"]
AFTER_ALL = ["boot", "identify", "upload", "build", "upload", "build", "start"]


async def check_it_comes_up_on_wheels(environment: Environment) -> str:
    """Boot a machine that can't use its index; return what it said of that."""
    async with booted(environment) as machine:
        assert machine.error == ""
        assert machine.phases == AFTER_ALL
        whole = await machine.shipment.with_all_wheels()
        pip = machine.shipment.manifest["pip"]["size"]
        assert machine.shipment.sent_bytes == pip + whole.size_bytes
        [line] = [line for line in machine.log.splitlines() if "wheels are needed" in line]
        return line


def test_what_an_index_has_is_not_sent(
    environment: Environment, index: Index, monkeypatch: pytest.MonkeyPatch
):
    there = offer_all(environment, index, monkeypatch)

    async def main() -> None:
        async with booted(there) as machine:
            assert (machine.error, machine.phases) == ("", DIRECTLY)
            entries = {d["name"]: d["wheel"] for d in machine.shipment.manifest["distributions"]}
            assert {name for name, entry in entries.items() if entry} == {"mine"}
            assert machine.shipment.sent_bytes == machine.shipment.size_bytes
            pip = machine.shipment.manifest["pip"]["size"]
            folder = sum(b["size"] for b in machine.shipment.manifest["folders"][0]["blobs"])
            assert machine.shipment.size_bytes == pip + entries["mine"]["size"] + folder
            assert "uv installed 2 distributions from the index" in machine.log
        assert not any("/mine" in path for path in index.asked)

    trio.run(main)


def test_a_machine_with_a_uv_of_its_own_is_sent_no_pip(
    environment: Environment, index: Index, monkeypatch: pytest.MonkeyPatch
):
    there = offer_all(environment, index, monkeypatch)

    async def main() -> None:
        async with booted(there, uv=True) as machine:
            assert (machine.error, machine.phases) == ("", DIRECTLY)
            pip = machine.shipment.manifest["pip"]["size"]
            assert machine.shipment.sent_bytes == machine.shipment.size_bytes - pip
        assert not any("/uv" in path for path in index.asked)

    trio.run(main)


def test_without_an_index_everything_is_sent(environment: Environment):
    assert "Connection refused" in trio.run(check_it_comes_up_on_wheels, environment)


def test_wheels_that_only_run_where_the_driver_does_are_not_sent_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
    tag = "cp38-abi3-linux_riscv64"
    with zipfile.ZipFile(write_wheel(tmp_path, "native", "1.0", {"n.py": ""}, tag=tag)) as archive:
        archive.extractall(tmp_path / "site")
    project = write_files(tmp_path / "project", {"run.py": "import n\n"})
    environment = capture(project, path=[str(project), str(tmp_path / "site")])
    environment.target = Target("linux", "riscv64", environment.target.python)

    async def main() -> None:
        async with booted(environment) as machine:
            assert machine.phases == ["boot", "identify", "upload", "build", "upload"]
            assert f"these are for linux/riscv64: native-1.0-{tag}.whl;" in machine.error
            assert machine.shipment.sent_bytes == machine.shipment.size_bytes  # and no wheel

    trio.run(main)


def test_an_index_that_is_silent_is_given_up(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server((HOST, 0)) as silent:
        url = f"http://{HOST}:{silent.getsockname()[1]}/simple"
        there = set_index(environment, url, monkeypatch)
        assert "no answer in " in trio.run(check_it_comes_up_on_wheels, there)


def test_an_index_that_lacks_a_version_is_done_without(
    environment: Environment, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index.add(wheels_of(environment)["one"])
    for other in ("1.9", "2.0+local"):
        index.add(write_wheel(tmp_path, "two", other, {"two.py": ""}))
    there = set_index(environment, index.url, monkeypatch)
    assert "two==2.0" in trio.run(check_it_comes_up_on_wheels, there)


def test_an_index_whose_file_is_damaged_is_done_without(
    environment: Environment, index: Index, monkeypatch: pytest.MonkeyPatch
):
    index.add(wheels_of(environment)["one"])
    file = index.add(wheels_of(environment)["two"])
    data = bytearray(file.read_bytes())
    data[60] ^= 0xFF  # in the contents of its first member
    file.write_bytes(data)
    there = set_index(environment, index.url, monkeypatch)
    assert "two" in trio.run(check_it_comes_up_on_wheels, there)


@pytest.mark.parametrize("has_all", [True, False], ids=["used", "done without"])
def test_an_indexs_password_is_told_to_nobody_and_on_no_disk(
    environment: Environment,
    tmp_path: Path,
    uv_wheel: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_all: bool,
):
    secret = "pass-6c1ed2"
    told = [secret, base64.b64encode(f"me:{secret}".encode()).decode()]

    async def main(there: Environment) -> None:
        async with booted(there) as machine:
            assert (machine.error, machine.phases) == ("", DIRECTLY if has_all else AFTER_ALL)
            texts = [machine.log, machine.vm.console(), machine.error]
            contents = [path.read_bytes() for path in machine.files()]
            assert any(b"index" in content for content in contents)
            for word in told:
                assert not any(word in text for text in texts)
                assert not any(word.encode() in content for content in contents)

    with Index(tmp_path / "locked", password=secret) as index:
        index.add(uv_wheel)
        for name, file in wheels_of(environment).items():
            if has_all or name != "two":
                index.add(file)
        trio.run(main, set_index(environment, index.url, monkeypatch))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("of http://me:word@host/simple", "of http://host/simple"),
        ("http://me:w@rd@host/a http://you@there", "http://host/a http://there"),
        ("http://host/a@b me@host", "http://host/a@b me@host"),
    ],
)
def test_urls_are_shown_without_their_secrets(text: str, shown: str):
    assert without_secrets(text) == shown


def test_a_python_that_uv_cannot_get_is_refused_with_the_reason(
    environment: Environment, index: Index, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", NOWHERE)
    there = set_index(environment, index.url, monkeypatch)

    async def main() -> None:
        async with booted(there, python="3.8") as machine:
            assert machine.phases == ["boot", "identify", "upload", "build"]
            assert "the driver runs Python 3.8, and this image has 3." in machine.error
            assert "Connection refused" in machine.error

    trio.run(main)


def test_a_python_that_uv_gets_is_what_the_environment_runs_on():
    async def main() -> None:
        async with rig() as r:
            # One that knows of a single Python.
            uv = r.vm.disk / "bin" / "uv"
            uv.write_text(
                "#!/bin/sh\n"
                '[ "$*" = "python install 3.8" ] || exit 1\n'
                "bin=$UV_PYTHON_INSTALL_DIR/cpython-3.8.20-linux/bin\n"
                f"mkdir -p $bin && ln -s {os.path.realpath(sys.executable)} $bin/python3.8\n"
            )
            uv.chmod(0o755)
            await r.identify()
            data = wheel()
            manifest = manifest_of(data, python="3.8")
            await r.wire.call("plan", manifest=manifest, builder_source=builder_source())
            await r.upload(data)
            status = await r.built(manifest)
            assert status["error"] is None
            [prefix] = (r.vm.disk / "store" / "environments").iterdir()
            assert (prefix / "bin" / "python3.8").resolve().samefile(sys.executable)

    trio.run(main)
