"""Machines install from a package index what it has; the driver sends the rest."""

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
from bigmachine.boot import _upload
from bigmachine.boot._bootstrap import BootBatch, Bootstrap, PhaseFailed
from bigmachine.boot._bundle import builder_source
from bigmachine.boot.vm.tools import without_secrets
from bigmachine.environment import Environment, Target, capture
from bigmachine.environment._tools import find_uv
from bigmachine.errors import StopReason
from bigmachine.machine._log import MachineLog
from bigmachine.rpc import http_client
from tests.support.vms.index import HOST, Index, pack_uv
from tests.support.vms.rig import boot_of, manifest_of, rig, wheel
from tests.support.vms.vms import NOWHERE, Vm
from tests.unit.boot.test_relays import CountedShipment
from tests.unit.environment.kit import write_files, write_wheel

pytestmark = [
    pytest.mark.skipif(find_uv() is None, reason="there is no uv"),
    pytest.mark.timeout(400),  # more than a boot and a build may take
]

TIMINGS = Keepalive(period=1.0, timeout=60.0, rpc_timeout=20.0)
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
    """Two distributions that an index may have, a local one, and a program."""
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
def patient_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let machines wait longer for an index, which may be slow on a busy computer."""
    limits = "\nINDEX_SECONDS, FIRST_SECONDS = 120.0, 240.0\n"  # of bigmachine.boot.vm.tools
    monkeypatch.setattr(_upload, "builder_source", lambda: builder_source() + limits)


@pytest.fixture
def index(tmp_path: Path, uv_wheel: Path, patient_machines: None) -> Iterator[Index]:
    with Index(tmp_path / "index") as index:
        index.add(uv_wheel)
        yield index


def set_index(environment: Environment, url: str, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Return the same environment, captured by a driver that uses the index."""
    monkeypatch.setenv("PIP_INDEX_URL", url)
    paths = [str(folder.path) for folder in environment.folders]
    return capture(paths[0], path=[*paths, str(environment.distributions[0].site)])


def wheels_of(environment: Environment) -> dict[str, Path]:
    """Pack all distributions, as for a machine that has no index."""
    manifest = environment.manifest(wheels="all")
    return {
        d["name"]: environment.blob(d["wheel"]["sha256"]).path for d in manifest["distributions"]
    }


def offer_all(
    environment: Environment, index: Index, monkeypatch: pytest.MonkeyPatch
) -> Environment:
    """Add all distributions to an index; return the environment of a driver that uses it."""
    for file in wheels_of(environment).values():
        index.add(file)
    return set_index(environment, index.url, monkeypatch)


@dataclass
class Machine:
    """A VM that booted, and what the driver knows about its boot."""

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
    """Boot a machine until its worker would start."""
    authority = Authority("test.bigmachine")
    boot = boot_of(authority, timeout=TIMINGS.timeout)
    manifest = await trio.to_thread.run_sync(environment.manifest)
    CountedShipment.sent_bytes = 0
    machine = Machine(Vm(), CountedShipment(environment, {**manifest, **changes}))
    if uv:
        (machine.vm.disk / "bin" / "uv").symlink_to(shutil.which("uv") or "")

    async def diagnose() -> Termination | None:
        return Termination(StopReason.EXITED, "it is off") if machine.vm.is_off else None

    def progress(phase: str, done: int, total: int) -> None:
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
                boot_timeout=120,
                build_timeout=300,
                diagnose=diagnose,
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


PHASES_WITH_INDEX = ["boot", "identify", "upload", "build", "start"]
PHASES_WITHOUT_INDEX = ["boot", "identify", "upload", "build", "upload", "build", "start"]


async def boot_without_index(environment: Environment) -> str:
    """Boot a machine that can't use its index; return the line of its log that says why."""
    async with booted(environment) as machine:
        assert machine.error == ""
        assert machine.phases == PHASES_WITHOUT_INDEX
        whole = await machine.shipment.with_all_wheels()
        pip = machine.shipment.manifest["pip"]["size"]
        assert machine.shipment.sent_bytes == pip + whole.size_bytes
        [line] = [line for line in machine.log.splitlines() if "wheels are needed" in line]
        return line


@pytest.mark.long
def test_distributions_on_index_are_not_sent(
    environment: Environment, index: Index, monkeypatch: pytest.MonkeyPatch
):
    offered = offer_all(environment, index, monkeypatch)

    async def main() -> None:
        async with booted(offered) as machine:
            assert (machine.error, machine.phases) == ("", PHASES_WITH_INDEX)
            entries = {d["name"]: d["wheel"] for d in machine.shipment.manifest["distributions"]}
            assert {name for name, entry in entries.items() if entry} == {"mine"}
            assert machine.shipment.sent_bytes == machine.shipment.size_bytes
            pip = machine.shipment.manifest["pip"]["size"]
            folder = sum(b["size"] for b in machine.shipment.manifest["folders"][0]["blobs"])
            assert machine.shipment.size_bytes == pip + entries["mine"]["size"] + folder
            assert "uv installed 2 distributions from the index" in machine.log
        assert not any("/mine" in path for path in index.requested)

    trio.run(main)


def test_machine_that_has_uv_is_sent_no_pip(
    environment: Environment, index: Index, monkeypatch: pytest.MonkeyPatch
):
    offered = offer_all(environment, index, monkeypatch)

    async def main() -> None:
        async with booted(offered, uv=True) as machine:
            assert (machine.error, machine.phases) == ("", PHASES_WITH_INDEX)
            pip = machine.shipment.manifest["pip"]["size"]
            assert machine.shipment.sent_bytes == machine.shipment.size_bytes - pip
        assert not any("/uv" in path for path in index.requested)

    trio.run(main)


@pytest.mark.long
def test_everything_is_sent_without_index(environment: Environment):
    assert "Connection refused" in trio.run(boot_without_index, environment)


@pytest.mark.long
def test_incompatible_wheels_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
            assert machine.shipment.sent_bytes == machine.shipment.size_bytes  # so no wheel

    trio.run(main)


@pytest.mark.long
def test_unresponsive_index_is_abandoned(environment: Environment, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server((HOST, 0)) as silent:
        url = f"http://{HOST}:{silent.getsockname()[1]}/simple"
        captured = set_index(environment, url, monkeypatch)
        assert "no answer in " in trio.run(boot_without_index, captured)


@pytest.mark.long
def test_missing_version_on_index_is_sent_by_driver(
    environment: Environment, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index.add(wheels_of(environment)["one"])
    for other in ("1.9", "2.0+local"):
        index.add(write_wheel(tmp_path, "two", other, {"two.py": ""}))
    captured = set_index(environment, index.url, monkeypatch)
    assert "two==2.0" in trio.run(boot_without_index, captured)


@pytest.mark.long
def test_damaged_file_on_index_is_sent_by_driver(
    environment: Environment, index: Index, monkeypatch: pytest.MonkeyPatch
):
    index.add(wheels_of(environment)["one"])
    file = index.add(wheels_of(environment)["two"])
    data = bytearray(file.read_bytes())
    data[60] ^= 0xFF  # in the contents of its first member
    file.write_bytes(data)
    captured = set_index(environment, index.url, monkeypatch)
    assert "two" in trio.run(boot_without_index, captured)


@pytest.mark.long
@pytest.mark.usefixtures("patient_machines")
@pytest.mark.parametrize("has_all", [True, False], ids=["used", "not used"])
def test_index_password_is_in_no_log_and_on_no_disk(
    environment: Environment,
    tmp_path: Path,
    uv_wheel: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_all: bool,
):
    secret = "pass-6c1ed2"
    secrets = [secret, base64.b64encode(f"me:{secret}".encode()).decode()]

    async def main(captured: Environment) -> None:
        async with booted(captured) as machine:
            phases = PHASES_WITH_INDEX if has_all else PHASES_WITHOUT_INDEX
            assert (machine.error, machine.phases) == ("", phases)
            texts = [machine.log, machine.vm.console(), machine.error]
            contents = [path.read_bytes() for path in machine.files()]
            assert any(b"index" in content for content in contents)
            for word in secrets:
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


@pytest.mark.long
def test_python_that_uv_cannot_install_is_error_with_reason(
    environment: Environment, index: Index, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", NOWHERE)
    captured = set_index(environment, index.url, monkeypatch)

    async def main() -> None:
        async with booted(captured, python="3.8") as machine:
            assert machine.phases == ["boot", "identify", "upload", "build"]
            assert "the driver runs Python 3.8, and this image has 3." in machine.error
            assert "Connection refused" in machine.error

    trio.run(main)


def test_environment_runs_on_python_installed_by_uv():
    async def main() -> None:
        async with rig() as r:
            # A fake uv, which can install one Python.
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
