"""Machines whose disk is kept: what the next session finds there, and what is deleted."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import trio

from bigmachine.boot._bundle import builder_source
from bigmachine.boot._client import BootStatusError
from tests.integration.vm.test_booting import result
from tests.integration.vm.test_booting import run as run_program
from tests.support import vms as vms_folder
from tests.support.vms.projects import needs_builder
from tests.support.vms.rig import Rig, booted, hash_of, manifest_of, wheel
from tests.support.vms.vms import Vm
from tests.support.waiting import eventually
from tests.unit.boot.test_relays import fleet

MARKER = "bigmachine.json"
FILE = "folders/0/data.txt"
MODULE = "lib/python*/site-packages/little.py"


@pytest.fixture
def vm() -> Iterator[Vm]:
    """A VM that keeps its disk until the end of the test."""
    vm = Vm()
    try:
        yield vm
    finally:
        trio.run(vm.destroy)


def manifest_with_a_folder(*wheels: bytes, data: bytes = b"data") -> dict[str, Any]:
    manifest = manifest_of(*wheels)
    blob = {"path": "data.txt", "sha256": hash_of(data), "size": len(data)}
    manifest["folders"] = [{"id": "0", "name": "project", "on_path": True, "blobs": [blob]}]
    manifest["content"]["files"] = {"0/data.txt": hash_of(data)}
    return manifest


def numbered(number: int, *, size_bytes: int = 1000) -> tuple[bytes, dict[str, Any]]:
    """Return a wheel of incompressible data, and the manifest of that wheel alone."""
    code = f"# {os.urandom(size_bytes // 2).hex()}\n" if size_bytes < 10_000 else ""
    file = BytesIO(wheel(code=code))
    if not code:
        with ZipFile(file, "a") as archive:
            archive.writestr("little.bin", os.urandom(size_bytes))
    return file.getvalue(), manifest_of(file.getvalue(), digest=f"{number:064d}")


async def build(r: Rig, manifest: dict[str, Any], *blobs: bytes) -> dict[str, int]:
    """Build an environment, as a driver does; return the blobs that were missing."""
    await r.identify()
    plan = await r.wire.call("plan", manifest=manifest, builder_source=builder_source())
    for blob in blobs:
        if hash_of(blob) in plan["missing"]:
            await r.upload(blob)
    assert (await r.built(manifest))["built"] == manifest["content"]
    await r.kept(manifest)
    return plan["missing"]  # type: ignore[no-any-return]


def prefix_of(vm: Vm, manifest: dict[str, Any]) -> Path:
    return vm.disk / "store" / "environments" / manifest["digest"]


def log_of(vm: Vm) -> str:
    return "".join(path.read_text() for path in (vm.disk / "store" / "log").iterdir())


def test_next_session_finds_environment_but_no_secrets(vm: Vm):
    async def main() -> None:
        data = wheel()
        manifest = manifest_with_a_folder(data)
        async with booted(vm, "first.bigmachine") as r:
            await build(r, manifest, data, b"data")
            key = r.request.credential.key
        store = vm.disk / "store"
        assert {path.name for path in store.iterdir()} == {"blobs", "environments", "log"}
        assert not any(key in path.read_bytes() for path in store.rglob("*") if path.is_file())
        shutil.rmtree(store / "blobs")  # an image may be made without them
        async with booted(vm, "second.bigmachine") as r:
            assert (await r.contact())["identified"] is False
            await r.identify()
            plan = await r.wire.call("plan", manifest=manifest, builder_source=builder_source())
            assert plan == {"built": True, "missing": {}}
            assert (await r.built(manifest))["built"] == manifest["content"]
            assert log_of(vm).count("boot program on") == 1

    trio.run(main)


ALTERATIONS: dict[str, Callable[[Path], object]] = {
    "file was changed": lambda file: file.write_text("more than there was"),
    "file was truncated": lambda file: os.truncate(file, 1),
    "file was deleted": Path.unlink,
    "file was replaced by one of the same size": lambda file: (
        file.write_bytes(file.read_bytes()[::-1]),
        os.utime(file, (1e9, 1e9)),
    ),
    "file was added": lambda file: (file.parent / "more.py").write_text(""),
}


# Each of both here, and each where the other one was in the long run.
@pytest.mark.parametrize(
    ("what", "where"),
    [
        pytest.param(what, where, marks=() if number % 2 == other else pytest.mark.long)
        for number, what in enumerate(ALTERATIONS)
        for other, where in enumerate((FILE, MODULE))
    ],
)
def test_altered_environment_is_rebuilt_from_files_on_disk(vm: Vm, what: str, where: str):
    async def main() -> None:
        data = wheel()
        manifest = manifest_with_a_folder(data)
        async with booted(vm) as r:
            await build(r, manifest, data, b"data")
        [file] = prefix_of(vm, manifest).glob(where)
        content = file.read_bytes()
        ALTERATIONS[what](file)
        async with booted(vm) as r:
            await r.identify()
            plan = await r.wire.call("plan", manifest=manifest, builder_source=builder_source())
            assert plan == {"built": False, "missing": {}}
            assert (await r.built(manifest))["built"] == manifest["content"]
            assert file.read_bytes() == content
            [line] = [line for line in log_of(vm).splitlines() if "altered" in line]
            assert str(file.parent) in line

    trio.run(main)


@pytest.mark.parametrize(
    "text", ['{"bin/py', "{}", *(pytest.param(t, marks=pytest.mark.long) for t in ("", "[]"))]
)
def test_invalid_completion_marker_is_ignored(vm: Vm, text: str):
    async def main() -> None:
        data = wheel()
        manifest = manifest_of(data)
        async with booted(vm) as r:
            await build(r, manifest, data)
        (prefix_of(vm, manifest) / MARKER).write_text(text)
        async with booted(vm) as r:
            assert await build(r, manifest) == {}
            assert "altered" in log_of(vm)

    trio.run(main)


@pytest.mark.long
def test_interrupted_build_does_not_count_as_built(vm: Vm):
    async def main() -> None:
        file = BytesIO()
        with ZipFile(file, "w") as archive:  # takes long enough to be seen while it is built
            for number in range(5_000):
                archive.writestr(f"many/file{number}.py", "")
        wheels = [wheel(), file.getvalue()]
        manifest = manifest_of(*wheels)
        async with booted(vm) as r:
            await r.identify()
            await r.wire.call("plan", manifest=manifest, builder_source=builder_source())
            for data in wheels:
                await r.upload(data)
            await r.wire.call("build")
            await eventually(
                lambda: list(prefix_of(vm, manifest).glob("lib/*/site-packages/many")), every=0.001
            )
        prefix = prefix_of(vm, manifest)
        assert prefix.exists()
        assert not (prefix / MARKER).exists()
        (prefix / "leftover").touch()
        async with booted(vm) as r:
            assert await build(r, manifest) == {}
            assert not (prefix / "leftover").exists()

    trio.run(main)


def test_build_with_wrong_contents_is_never_used(vm: Vm):
    async def main() -> None:
        data = wheel(version="2.0")
        manifest = manifest_of(data)  # which says that the version is 1.0
        for _ in range(2):
            async with booted(vm) as r:
                await r.identify()
                plan = await r.wire.call("plan", manifest=manifest, builder_source=builder_source())
                assert plan["built"] is False
                if plan["missing"]:
                    await r.upload(data)
                status = await r.built(manifest)
                assert status["built"]["distributions"] == {"little": "2.0"}
                # Until the building thread has written the marker.
                await eventually(lambda: len(os.listdir(f"/proc/{vm.pid}/task")) <= 3)

    trio.run(main)


def test_blob_damaged_by_crash_is_sent_again(vm: Vm):
    async def main() -> None:
        data = wheel()
        manifest = manifest_of(data)
        async with booted(vm) as r:
            await r.identify()
            await r.wire.call("plan", manifest=manifest, builder_source=builder_source())
            await r.upload(data)
        (vm.disk / "store" / "blobs" / hash_of(data)).write_bytes(bytes(len(data)))
        async with booted(vm) as r:
            assert await build(r, manifest, data) == {hash_of(data): 0}

    trio.run(main)


@pytest.mark.long
def test_most_recently_used_environments_are_kept_with_their_blobs(vm: Vm):
    async def main() -> None:
        made = [numbered(number) for number in range(5)]
        store = vm.disk / "store"

        def kept() -> tuple[set[int], set[int]]:
            blobs = {path.name for path in (store / "blobs").iterdir()}
            return (
                {n for n, (_, manifest) in enumerate(made) if prefix_of(vm, manifest).exists()},
                {n for n, (data, _) in enumerate(made) if hash_of(data) in blobs},
            )

        async with booted(vm) as r:
            await r.identify()
            unfinished = os.urandom(1000)
            await r.wire.call(
                "plan", manifest=manifest_of(unfinished), builder_source=builder_source()
            )
            with contextlib.suppress(BootStatusError):
                await r.upload(unfinished[:500], sha256=hash_of(unfinished))
            assert [*store.glob("blobs/*.part")]
        for number in (0, 1, 2, 0):
            data, manifest = made[number]
            async with booted(vm) as r:
                await build(r, manifest, data)
        assert kept() == ({0, 1, 2}, {0, 1, 2})
        for number, expected in ((3, {0, 2, 3}), (4, {0, 3, 4})):
            data, manifest = made[number]
            async with booted(vm) as r:
                await build(r, manifest, data)
                # While the session goes on.
                await eventually(lambda expected=expected: kept() == (expected, expected))
                assert "deleted, unused for long: " in log_of(vm)
        assert not [*store.glob("blobs/*.part")]

    trio.run(main)


@pytest.fixture
def small_disk(vm: Vm) -> Iterator[Vm]:
    """The VM with a disk of 16 MiB."""
    store = vm.disk / "store"
    store.mkdir(mode=0o700)
    options = ["-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs"]
    done = subprocess.run(["mount", *options, store], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"it takes root to mount a small disk: {done.stderr.decode().strip()}")
    try:
        yield vm
    finally:
        trio.run(vm.power_off)
        subprocess.run(["umount", "--lazy", store], check=True)


@pytest.mark.root
def test_unused_files_are_deleted_when_disk_is_full(small_disk: Vm):
    async def main() -> None:
        first, of_first = numbered(1, size_bytes=3 << 20)
        second, of_second = numbered(2, size_bytes=3 << 20)
        _, of_third = numbered(3, size_bytes=9 << 20)
        async with booted(small_disk) as r:
            await build(r, of_first, first)
        async with booted(small_disk) as r:
            await build(r, of_second, second)
            assert not prefix_of(small_disk, of_first).exists()
        async with booted(small_disk) as r:
            await r.identify()
            with pytest.raises(
                BootStatusError,
                match=r"the disk is full: at least 18 MiB are needed, and 1\d are free",
            ):
                await r.wire.call("plan", manifest=of_third, builder_source=builder_source())

    trio.run(main)


@pytest.mark.root
def test_too_small_disk_is_boot_error_before_anything_is_sent(
    small_disk: Vm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "data").write_bytes(os.urandom(12 << 20))

    async def main() -> None:
        async with fleet(0, tmp_path / "project") as f:
            await small_disk.power_on(f.request)
            await f.bring_up(small_disk)
            [message] = f.failed.values()
            assert message.startswith("upload: the disk is full: ")
            assert f.shipment.sent_bytes == 0

    trio.run(main)


# -- as a program sees it --------------------------------------------------------------

PROGRAM = """
    import json, pathlib, sys, time
    import bigmachine as bm
    from bigmachine.system import hookimpl
    from vms import VmOptions, VmSystem

    class Watch:
        uploads = {}  # by size: the bytes there at first, and those there now
        times = {}
        @hookimpl
        def event(self, event):
            if isinstance(event, bm.BootProgress):
                self.times.setdefault(event.phase, time.monotonic())
                if event.phase == "upload" and event.total:
                    first, _ = self.uploads.get(event.total, (event.done, 0))
                    self.uploads[event.total] = first, event.done

    class Reporter:
        def report(self):
            # A disk is reused only once the marker is on it.
            while not pathlib.Path(sys.prefix, "bigmachine.json").exists():
                time.sleep(0.05)
            import numpy
            return {
                "prefix": sys.prefix,
                "numpy": float(numpy.ones(3).sum()),
                "data": pathlib.Path("data").read_text()[:20],
            }

    if __name__ == "__main__":
        watch = Watch()
        system = VmSystem(VmOptions(disk=sys.argv[1]))
        with bm.Session(system, plugins=[watch]) as session:
            [machine] = session.start(1, services={"Reporter": Reporter()})
            report = machine.call("Reporter.report")
        build = watch.times["start"] - watch.times["build"]
        sent_bytes = sum(now - first for first, now in watch.uploads.values())
        print(json.dumps({**report, "sent_bytes": sent_bytes, "build": build}))
"""
DATA_BYTES = 300 << 10  # so large that it is sent alone, not in an archive


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a program and a big file."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "main.py").write_text(textwrap.dedent(PROGRAM))
    (folder / "data").write_text("the first".ljust(DATA_BYTES))
    shutil.copy(Path(vms_folder.__file__).with_name("vms.py"), folder)
    (tmp_path / "disk").mkdir()
    return folder


def run(project: Path) -> Any:
    """Run the program, which opens a session, on the machine with the kept disk."""
    return result(run_program(project, str(project.parent / "disk")))


@needs_builder
@pytest.mark.long
@pytest.mark.timeout(300)
def test_kept_machine_is_sent_only_changed_files(project: Path):
    first = run(project)
    assert first["numpy"] == 3.0
    assert first["sent_bytes"] > DATA_BYTES

    second = run(project)
    assert second["prefix"] == first["prefix"]
    assert second["sent_bytes"] == 0
    assert second["build"] < first["build"] / 3

    (project / "data").write_text("another".ljust(DATA_BYTES))
    third = run(project)
    assert third["sent_bytes"] == DATA_BYTES
    assert third["data"].startswith("another")
    assert third["prefix"] != first["prefix"]

    Path(third["prefix"], "folders", "0", "data").write_text("neither")
    fourth = run(project)
    assert fourth["sent_bytes"] == 0
    assert fourth["data"].startswith("another")
    assert fourth["prefix"] == third["prefix"]
