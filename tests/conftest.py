from __future__ import annotations

import gc
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401  # early: it searches all objects that there are for its own
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.schemas import check_refused

Install = Callable[..., Path]

# Shells have what they run in the background ignore Ctrl-C, and all that it starts, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use more workers than processors: most tests wait for other processes."""
    return 2 * (os.cpu_count() or 1) + 1


class CloudScheduling(LoadScopeScheduling):
    """Runs the tests of a module in one process; all of a cloud, or of network namespaces, too.

    A cloud's SDK and emulation take seconds to import, and a network namespace that another test
    makes looks like a leftover.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        cloud = re.search(r"\b(ec2|gcp|azure|netns)(?=/|\.py$)|_(ec2|gcp|azure)\.py$", module)
        return cloud[1] or cloud[2] if cloud else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return CloudScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage while tests are collected, nor ever after in what this has made.

    Nearly all of it stays, and each process collects all tests: a third of that was the search.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what is compiled for this run, where else nothing is kept.

    Tests start thousands of processes, and to compile what it imports takes a machine
    longer than the rest of its start.
    """
    with pytest.MonkeyPatch.context() as patch:
        if sys.dont_write_bytecode:
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            folder = tmp_path_factory.getbasetemp()
            if "PYTEST_XDIST_WORKER" in os.environ:
                folder = folder.parent  # of all workers
            patch.setenv("PYTHONPYCACHEPREFIX", str(folder / "bytecode"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_progress() -> Iterator[None]:
    """Have standard error be the same, however long a start takes on a busy computer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIGMACHINE_PROGRESS", "off")
        yield


@pytest.fixture(scope="session", autouse=True)
def _records_in_order() -> Iterator[None]:
    """Have the loops of these tests wait for each record to be handled, on a busy computer too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_WAIT_SECONDS", "_FLUSH_SECONDS"):
            patch.setattr(f"bigmachine.session._log_thread.{name}", 60.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_sockets() -> Iterator[None]:
    """Have the sessions of these tests found by no other program of the user, nor theirs here."""
    # Not pytest's own folder: the path of a socket has at most 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="bm-", dir="/tmp") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        # Before there is a session: who finds no folder here looks where the user's own are.
        Path(folder, "bigmachine").mkdir(mode=0o700)
        patch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_refused_in_the_end() -> Iterator[None]:
    yield
    check_refused()


@pytest.fixture(autouse=True)
def nothing_refused() -> Iterator[None]:
    """Fail a test that sent to an emulated cloud what its provider's model refuses.

    What was sent between two tests, by fixtures that they share, fails the second one.
    """
    yield
    check_refused()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a tiny distribution, as pip would lay it out: a module and its metadata."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def install(dist: str, entry_points: str, /, version: str = "1.0", **modules: str) -> Path:
        folder = site / f"{dist.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}")
        (folder / "entry_points.txt").write_text(entry_points)
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source)
        return site

    yield install
    for name in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
