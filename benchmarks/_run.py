"""A run: starts each contestant's driver in turn, and ends all processes that it started."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import _bytecode, _certificates
from benchmarks._contestant import Contestant
from benchmarks._metrics import FAILURE_LIMIT
from benchmarks._processes import (
    MARKER,
    Process,
    kill_all,
    processes_of,
    remove_semaphores,
    wait_gone,
)
from benchmarks._results import Round

DRIVER_LIMIT = {"full": 60.0, "quick": 40.0}  # seconds for one contestant's round
PROGRAM_LIMIT = 30.0  # seconds for each of a contestant's programs
IMPORT_LIMIT = 20.0  # seconds
HELPERS_GRACE = 2.0  # seconds that other processes of a killed driver may outlive its machines
# What `import` should not load (section 11), since every user would wait for it.
UNWANTED = {"azure", "boto3", "botocore", "cryptography", "google.cloud", "rich"}
ERROR_LINES = 3  # of a failed driver's stderr that its note quotes


class Run:
    """One run's temporary directory, marker, and processes. Created by `opened`."""

    def __init__(self, directory: Path, *, kind: str) -> None:
        self.id = uuid.uuid4().hex
        self.kind = kind
        self._directory = directory
        self._known: set[Process] = set()
        _certificates.write(directory / "certificates")
        self._environ = {
            **_bytecode.environ(),
            MARKER: self.id,
            _certificates.DIRECTORY: str(directory / "certificates"),
            "TMPDIR": str(directory),
        }

    def round(self, contestant: type[Contestant], *, until: float = float("inf")) -> Round:
        """Run and kill one driver of a contestant; it ends by monotonic time `until`."""
        outcome = Round()
        self._time_import(contestant, outcome)
        if self.kind == "full":
            for name in contestant.programs:
                self._run_program(contestant, name, outcome, until=until)
        errors = self._directory / f"{contestant.name}.err"
        with errors.open("wb") as stderr:
            started = time.monotonic()
            driver = self._spawn(
                "-m", "benchmarks._driver", contestant.name, repr(started), self.kind, stderr=stderr
            )
        try:
            machines = self._follow(
                driver, outcome, min(until, started + _limit(contestant, self.kind))
            )
            if machines:
                self._orphan(driver, machines, outcome)
            elif driver.poll():
                tail = errors.read_text(errors="replace").strip().splitlines()[-ERROR_LINES:]
                outcome.notes.append(f"driver ended with {driver.returncode}: " + " | ".join(tail))
        finally:
            self.end()
            driver.wait()
            remove_semaphores(driver.pid)
            assert driver.stdout is not None
            driver.stdout.close()
        return outcome

    def end(self) -> None:
        """Kill every process of this run that is still alive."""
        kill_all(self.id, self._known)
        self._known.clear()

    def _spawn(self, *arguments: str, stderr: Any) -> subprocess.Popen[bytes]:
        driver = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=self._environ,
            start_new_session=True,  # Ctrl-C is for this process alone
        )
        self._note_processes(driver.pid)
        return driver

    def _note_processes(self, *pids: int) -> None:
        self._known.update(process for pid in pids if (process := Process.of(pid)))

    def _time_import(self, contestant: type[Contestant], outcome: Round) -> None:
        """Time `import` in a new process, and note the slow modules that it loads."""
        program = (
            "import sys, time; t = time.perf_counter(); "
            f"import {contestant.module}; t = time.perf_counter() - t; "
            f"print(t, *sorted({UNWANTED} & set(sys.modules)))"
        )
        process = self._spawn("-c", program, stderr=subprocess.DEVNULL)
        try:
            answer = process.communicate(timeout=IMPORT_LIMIT)[0].decode().split()
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            outcome.notes.append(f"import {contestant.module} took over {IMPORT_LIMIT:g} s")
            return
        if process.returncode == 0:
            outcome.values["import_s"] = float(answer[0])
            if answer[1:]:
                outcome.notes.append(f"import {contestant.module} loads {', '.join(answer[1:])}")

    def _run_program(
        self, contestant: type[Contestant], name: str, outcome: Round, *, until: float
    ) -> None:
        """Run one of a contestant's programs, and take the values that it prints."""
        process = self._spawn("-c", contestant.programs[name], stderr=subprocess.DEVNULL)
        try:
            timeout = max(0.0, min(PROGRAM_LIMIT, until - time.monotonic()))
            answer = process.communicate(timeout=timeout)[0]
        except subprocess.TimeoutExpired:
            outcome.notes.append(f"{name} took over {timeout:.0f} s")
            self.end()
            process.communicate()
            return
        self.end()
        if process.returncode == 0:
            outcome.values.update(json.loads(answer))
        else:
            outcome.notes.append(f"{name} ended with {process.returncode}")

    def _follow(
        self, driver: subprocess.Popen[bytes], outcome: Round, deadline: float
    ) -> list[Process]:
        """Read what the driver reports; return its machines, or none if it ended early."""
        assert driver.stdout is not None
        step, unread = "start", b""
        with selectors.DefaultSelector() as selector:
            selector.register(driver.stdout, selectors.EVENT_READ)
            while (remaining := deadline - time.monotonic()) > 0:
                if not selector.select(remaining):
                    continue
                received = os.read(driver.stdout.fileno(), 1 << 16)
                if not received:
                    driver.wait()
                    return []
                *lines, unread = (unread + received).split(b"\n")
                for key, value in [item for line in lines for item in json.loads(line).items()]:
                    if key == "begin":
                        step = value
                    elif key == "values":
                        outcome.values.update(value)
                    elif key == "note":
                        outcome.notes.append(value)
                    elif key == "ready":
                        return [machine for pid in value if (machine := Process.of(pid))]
        outcome.notes.append(f"timed out during {step}")
        return []

    def _orphan(
        self, driver: subprocess.Popen[bytes], machines: list[Process], outcome: Round
    ) -> None:
        """Kill the driver, and time how long its machines outlive it."""
        root = Process.of(driver.pid)
        self._known.update(processes_of(self.id, [root] if root else []), machines)
        begin = time.monotonic()
        driver.kill()
        seconds = wait_gone(machines, limit=FAILURE_LIMIT, begin=begin)
        outcome.values["orphans_s"] = seconds
        if seconds < FAILURE_LIMIT:
            wait_gone(self._known, limit=HELPERS_GRACE)
        if alive := [process for process in self._known if process.is_alive()]:
            names = ", ".join(sorted({Path(p.command.split(" ")[0]).name for p in alive}))
            outcome.notes.append(f"{len(alive)} processes outlived the driver: {names}")


@contextmanager
def opened(*, kind: str) -> Iterator[Run]:
    """Open a run; when it ends, for whatever reason, its processes and files are removed."""
    # /tmp, and a short name: Ray puts Unix sockets deep below it, and their paths
    # may have 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="bm", dir="/tmp"))
    try:
        run = Run(directory, kind=kind)
        try:
            yield run
        finally:
            run.end()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _limit(contestant: type[Contestant], kind: str) -> float:
    """Return how many seconds a contestant's round may take; VMs have to boot."""
    return DRIVER_LIMIT[kind] * (1 if contestant.is_local else 10)
