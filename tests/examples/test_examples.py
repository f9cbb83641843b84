"""The examples run as a user runs them, and give correct results."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import bigmachine as bm
from examples import bigpi, diskbench
from tests.support.paths import ROOT
from tests.support.processes import marked
from tests.support.waiting import until

EXAMPLES = ROOT / "examples"
BIGPI = Path(sys.executable).with_name("bigpi")

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Runner:
    """Runs commands with a mark in their environment, which shows what they left running."""

    def __init__(self, cwd: Path) -> None:
        self.mark = f"BIGMACHINE_TEST_MARK={os.getpid()}-{time.monotonic_ns()}"
        self.cwd = cwd
        name, _, value = self.mark.partition("=")
        self.environ = {**os.environ, name: value}
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, *command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            cwd=self.cwd,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )

    def start(self, *command: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        """End what `start` has started, if it still runs."""
        for process in self._started:
            with process:  # closes its pipes, and waits
                process.kill()

    def left_running(self) -> dict[int, str]:
        """Return the marked processes that still run."""
        return marked(self.mark)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(tmp_path)
    yield runner
    if sys.platform == "linux":
        # The time that machines of a killed driver have to end.
        with contextlib.suppress(AssertionError):
            until(lambda: not runner.left_running())
        left = runner.left_running()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        runner.end()
        assert not left


def result(output: str) -> tuple[float, float, int]:
    """Parse bigpi's last lines: π, its standard error and the number of samples."""
    pattern = (
        r"^π ≈ ([\d.]+) ± ([\d.]+) \(([\d,]+) samples?, .* s\)\nThe true error is ([\d.]+)\.\n\Z"
    )
    match = re.search(pattern, output, re.M)
    assert match, output
    pi, error, samples, true_error = match.groups()
    digits = [len(number.partition(".")[2]) for number in (pi, error, true_error)]
    assert len(set(digits)) == 1
    assert float(true_error) == pytest.approx(
        abs(float(pi) - math.pi), abs=1.001 * 10 ** -digits[0]
    )
    return float(pi), float(error), int(samples.replace(",", ""))


@pytest.mark.parametrize(
    "program",
    [[BIGPI], pytest.param([sys.executable, EXAMPLES / "bigpi.py"], marks=pytest.mark.long)],
)
def test_bigpi_result_is_within_stated_error(run, program):
    n = 300_000
    done = run(*program, "-n", n, "--machines", 3, "--seed", "a fixed one")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    pi, error, samples = result(done.stdout)
    assert samples == n
    assert error == pytest.approx(1.642 / math.sqrt(n), abs=0.001)
    assert abs(pi - math.pi) <= 2 * error  # two standard errors; true for this seed
    assert "3 machines, 3 cores" in done.stdout


def test_bigpi_shows_state_and_cores_of_each_machine_and_total(run):
    done = run(BIGPI, "-n", 500_000, "--machines", 2, "-o", "maxprocs=2")
    rows = re.findall(r"^ *(m\d) +(\w+) +(\d+) +([\d,]+) ", done.stdout, re.M)
    assert [(name, cores) for name, _, cores, _ in rows] == [("m0", "2"), ("m1", "2")]
    states = {state for _, state, _, _ in rows}
    assert "RUNNING" in states <= {"STARTING", "RUNNING"}  # one may have done all by then
    [(cores, samples)] = re.findall(r"^ *total +(\d+) +([\d,]+) ", done.stdout, re.M)
    assert (cores, samples) == ("4", "500,000")
    assert sum(int(row[3].replace(",", "")) for row in rows) == 500_000


@pytest.mark.long
def test_bigpi_result_depends_on_seed_but_not_on_machines(run):
    outputs = [
        run(BIGPI, "-n", 450_001, "--machines", count, "--seed", 7).stdout for count in (1, 3)
    ]
    assert result(outputs[0]) == result(outputs[1])


@pytest.mark.long
def test_bigpi_takes_single_sample(run):
    done = run(BIGPI, "-n", 1, "--machines", 1)
    pi, error, samples = result(done.stdout)
    assert (samples, error) == (1, 2)
    assert pi in (0, 4)
    assert "(1 sample, 1 machine, 1 core, " in done.stdout


def test_bigpi_takes_numbers_as_people_write_them():
    for text in ("60000000", "60,000,000", "60_000_000", "6e7"):
        assert bigpi._positive(text) == 60_000_000
    for text in ("1,5", "60,00", "1.5", "60 M", ",100"):
        with pytest.raises(argparse.ArgumentTypeError):
            bigpi._positive(text)


def test_bigpi_prints_plain_lines_without_terminal(run):
    done = run(BIGPI, "-n", 1_000_000, "--machines", 1)
    assert "\x1b" not in done.stdout
    # Not every tenth is printed: two may pass between two updates.
    assert "± is the standard error" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert re.search(r"^ [1-9]0%  π ≈ 3\.\d+ ± 0\.\d+$", done.stdout, re.M)


def test_bigpi_ends_with_cost_of_billed_machines(capsys):
    observer = bigpi.Printer()
    observer.event(bm.SessionClosed("s"))
    assert capsys.readouterr().out == ""
    cost = bm.Cost(0.05, groups=(bm.CostGroup(3, "c7i.xlarge spot", 840),))
    observer.event(bm.SessionClosed("s", cost))
    assert capsys.readouterr().out == "cost: 3 × c7i.xlarge spot, 14 min, about $0.05\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", 0], "must be a whole number, 1 or more, not '0'"),
        (["--system", "locl"], "no system 'locl' is installed; did you mean 'local'?"),
        (["-o", "maxproc=2"], "no option 'maxproc'; did you mean 'maxprocs'?"),
        (["-o", "maxprocs=0"], "maxprocs: must be at least 1"),
        (["-o", "maxprocs"], "must be KEY=VALUE, not 'maxprocs'"),
        *(
            pytest.param(arguments, message, marks=pytest.mark.long)  # of these kinds, too
            for arguments, message in (
                (["-n", -5], "must be a whole number, 1 or more, not '-5'"),
                (["-n", "many"], "must be a whole number, 1 or more, not 'many'"),
                (["-n", "inf"], "must be a whole number, 1 or more, not 'inf'"),
                (["--machines", 0], "must be a whole number, 1 or more, not '0'"),
                (["-o", "maxprocs=two"], "takes int, not 'two'"),
            )
        ),
    ],
)
def test_bigpi_explains_bad_input_and_exits_with_status_2(run, arguments, message):
    done = run(BIGPI, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def busy_machines(run: Runner, driver: int) -> int:
    """Count the machines that have sampled for a tenth of a second."""
    ticks = 0.1 * os.sysconf("SC_CLK_TCK")
    return sum(
        is_machine(pid, driver) and processor_ticks(pid) > ticks for pid in run.left_running()
    )


def processor_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


@linux
def test_ctrl_c_ends_bigpi_with_status_130_and_leaves_no_machine(run):
    process = run.start(BIGPI, "-n", "1e12", "--machines", 3, "--seed", 1)
    until(lambda: busy_machines(run, process.pid) == 3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert not run.left_running()


@linux
def test_bigpi_continues_after_one_machine_is_killed(run):
    process = run.start(BIGPI, "-n", "6e6", "--machines", 2, "--seed", 1)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert 10 <= int(first.partition("%")[0]) < 20
    process.send_signal(signal.SIGSTOP)  # else it may be done before we have found a machine
    with_sockets = [p for p in run.left_running() if is_machine(p, process.pid)]
    os.kill(with_sockets[0], signal.SIGKILL)
    process.send_signal(signal.SIGCONT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert result(stdout)[2] == 6_000_000
    assert stdout.count("STOPPED") == 1


def is_machine(pid: int, driver: int) -> bool:
    """Whether it is a child of the driver's child, the zygote."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended meanwhile
        return False
    return parent not in (driver, os.getpid())


def test_multisys_runs_two_sessions_at_once(run):
    done = run(sys.executable, EXAMPLES / "multisys.py")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\w+) (m\d): (\d) met in process (\d+)$", done.stdout, re.M)
    assert [row[:3] for row in rows] == [
        ("small", "m0", "1"),
        ("small", "m1", "1"),
        ("large", "m0", "2"),
    ]
    assert len({row[3] for row in rows}) == 3


def count_directly(paths: list[Path]) -> Counter[str]:
    texts = (path.read_text(errors="replace").lower() for path in paths)
    return Counter(word for text in texts for word in re.findall(r"[^\W\d_]+", text))


def test_diskbench_measures_each_machine(tmp_path, capsys):
    assert diskbench.main(["--size", "4", "--folder", str(tmp_path)]) == 0
    rows = re.findall(r"^(\w+) +([\d,]+) +([\d,]+)(?:  (.*))?$", capsys.readouterr().out, re.M)
    assert sorted((name, folder) for name, _, _, folder in rows) == [
        ("m0", str(tmp_path)),
        ("m1", str(tmp_path)),
        ("total", ""),
    ]
    assert all(int(number.replace(",", "")) > 0 for row in rows for number in row[1:3])
    assert [*tmp_path.iterdir()] == []


@pytest.mark.long
def test_diskbench_says_on_which_machine_it_has_failed(run, tmp_path):
    program = EXAMPLES / "diskbench.py"
    done = run(sys.executable, program, "--machines", 1, "--folder", tmp_path / "nowhere")
    assert done.returncode == 1
    assert re.search(r"^m0 +failed: .*No such file or directory", done.stdout, re.M)


@pytest.mark.parametrize("machines", [pytest.param(1, marks=pytest.mark.long), 3])
def test_wordcount_agrees_with_direct_count(run, tmp_path, machines):
    large = tmp_path / "large.txt"  # several chunks, and lines that lie across their edges
    large.write_text("Füße laufen über die Straße, the street.\n" * 20_000)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "no newline at the end.txt").write_text("the end")
    paths = [*sorted(tmp_path.glob("*.txt")), ROOT / "README.md", EXAMPLES / "ring.py"]
    done = run(
        sys.executable, EXAMPLES / "wordcount.py", "--machines", machines, "--top", 5, *paths
    )
    assert done.returncode == 0, done.stderr
    expected = count_directly(paths)
    rows = re.findall(r"^ *([\d,]+)  (\w+)$", done.stdout, re.M)
    counts = [(word, int(number.replace(",", ""))) for number, word in rows]
    assert len(counts) == 5
    assert all(expected[word] == number for word, number in counts)
    assert [number for _, number in counts] == [n for _, n in expected.most_common(5)]
    last = f"{expected.total():,}  words in total, {len(expected):,} different ones"
    assert done.stdout.splitlines()[-1].strip() == last


@pytest.mark.long
def test_wordcount_without_arguments_counts_repository(run):
    done = run(sys.executable, "-m", "examples.wordcount")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0].replace(",", "")) > 10_000


def test_wordcount_names_missing_file(run):
    done = run(sys.executable, EXAMPLES / "wordcount.py", "nowhere.txt")
    assert done.returncode == 2
    assert "nowhere.txt is not a file" in done.stderr


@pytest.mark.long  # it fills a cgroup slowly, so that there is time to see it coming
@pytest.mark.root
def test_bigoom_names_the_reason_and_keeps_what_was_in_memory(run, tmp_path):
    cgroup = Path("/sys/fs/cgroup/memory", f"bigmachine-test-{os.getpid()}")
    try:
        cgroup.mkdir()
        (cgroup / "memory.limit_in_bytes").write_text(str(800 << 20))
    except OSError as exc:
        pytest.skip(f"can't make a memory cgroup of version 1: {exc}")
    run.environ["XDG_CACHE_HOME"] = str(tmp_path)
    join = f"echo $$ > {cgroup}/cgroup.procs && exec {sys.executable} {EXAMPLES / 'bigoom.py'}"
    try:
        done = run("sh", "-c", join)
    finally:
        cgroup.rmdir()
    assert done.returncode == 0, done.stderr
    [report] = (tmp_path / "bigmachine" / "memory").iterdir()
    reason = "killed by the kernel: out of memory"
    assert f"{reason}; what was in its memory before: {report}" in done.stdout
    assert "builtins.bytes" in (report / "heap.txt").read_text()
    assert "memory: " in done.stderr  # as it is logged without any configuration


def test_bigoom_does_not_fill_this_computer_unasked(run):
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 8 << 30:
        pytest.skip("this computer is small enough to be filled")
    done = run(sys.executable, EXAMPLES / "bigoom.py")
    assert done.returncode == 2
    assert "would fill this computer's memory" in done.stderr


@pytest.mark.parametrize(
    ("machines", "length"),
    [
        (3, 7),
        pytest.param(1, 5, marks=pytest.mark.long),
        pytest.param(4, 100_001, marks=pytest.mark.long),
    ],
)
def test_ring_gives_every_machine_the_drivers_sum(run, machines, length):
    done = run(sys.executable, EXAMPLES / "ring.py", "--machines", machines, "--length", length)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{8 * length:,} bytes each" in done.stdout
    assert "each machine has the same sum as the driver" in done.stdout
