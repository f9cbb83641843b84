"""All snippets in the documentation run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, page_id, snippets

RUNNER = Path(__file__).with_name("run_snippets.py")

# Tools that the reader must have. All other commands must be installed with this workspace.
TOOLS = {"curl", "aws", "az", "gcloud", "export", "pip", "uv", "just", "rm", "sed"}

with_language = {
    language: [page for page in PAGES if any(s.language == language for s in snippets(page))]
    for language in ("python", "console", "toml")
}


# They take longest, or show what a folder of tests shows; the others show that snippets run.
SLOW_PAGES = {
    *("backends.md", "faults.md", "machines.md", "profiling.md", "services.md", "testing.md"),
    *("cost.md", "gpus.md", "metrics.md", "traces.md", "wire.md"),
}


@pytest.fixture(scope="module")
def runner() -> Iterator[subprocess.Popen[str]]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("BIGMACHINE_")}
    with subprocess.Popen(
        [sys.executable, str(RUNNER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
    ) as process:
        yield process
        process.stdin.close()
    assert process.returncode == 0


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.long if page.name in SLOW_PAGES else ())
        for page in with_language["python"]
    ],
    ids=page_id,
)
def test_python_snippets_of_page_run_in_order(page, tmp_path, runner):
    if "curl" in page.read_text() and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    (tmp_path / "README.md").write_bytes((ROOT / "README.md").read_bytes())  # a snippet reads it
    errors = tmp_path.with_suffix(".stderr")
    print(page, tmp_path, errors, sep="\t", file=runner.stdin, flush=True)
    assert runner.stdout.readline() == "0\n", errors.read_text()


@pytest.mark.parametrize("page", with_language["console"], ids=page_id)
def test_commands_of_page_exist(page):
    for snippet in snippets(page):
        if snippet.language == "console":
            for line in snippet.text.splitlines():
                if line.startswith("$ "):
                    for command in line.removeprefix("$ ").split(" && "):
                        check_command(shlex.split(command, comments=True))


def check_command(words: list[str]) -> None:
    if words[:2] == ["uv", "run"]:
        words = words[2:]
        while words[0].startswith("-"):
            words = words[2:] if words[0] in ("--group", "--python") else words[1:]
    program = words[0]
    if words[:2] == ["python", "-c"]:
        compile(words[2], "-c", "exec")
    elif program == "python":
        module = words[2] if words[1] == "-m" else words[1]
        target = ROOT / (module if module.endswith(".py") else module.replace(".", "/"))
        assert target.exists() or target.with_suffix(".py").exists() or module == "pytest", module
    elif program == ".ci/run":
        assert os.access(ROOT / program, os.X_OK)
    elif program not in TOOLS:
        scripts = Path(sys.executable).parent
        assert (scripts / program).exists(), f"there is no command {program!r}"
    for word in words[1:]:  # arguments that are paths in the repository
        if word.startswith(("tests/", "examples/", "docs/")):
            assert (ROOT / word.partition("::")[0]).exists(), word


@pytest.mark.parametrize("page", with_language["toml"], ids=page_id)
def test_toml_snippets_of_page_are_valid(page):
    for snippet in snippets(page):
        if snippet.language == "toml":
            tomllib.loads(snippet.text)


def test_documented_options_file_works_as_described(tmp_path, monkeypatch):
    import bigmachine as bm

    [snippet] = [s for s in snippets(ROOT / "docs/machines.md") if s.language == "toml"]
    (tmp_path / "bigmachine.toml").write_text(snippet.text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIGMACHINE_LOCAL_MAXPROCS", raising=False)
    assert bm.Session("local").system.options.maxprocs == 2
    assert bm.Session("local", profile="wide").system.options.maxprocs == 4
    monkeypatch.setenv("BIGMACHINE_LOCAL_MAXPROCS", "3")
    assert bm.Session("local", profile="wide").system.options.maxprocs == 3
    assert bm.Session("local", profile="wide", maxprocs=1).system.options.maxprocs == 1


@pytest.mark.parametrize("page", ["README.md", "docs/backends.md"])
def test_documented_backend_has_less_than_40_lines(page):
    [source] = [s.text for s in snippets(ROOT / page) if "(bm.System)" in s.text]
    begin = source.index("class Processes(")
    end = re.compile(r"^(?=\S)", re.M).search(source, begin + 1)
    assert end
    lines = [line for line in source[begin : end.start()].splitlines() if line.strip()]
    assert 20 < len(lines) < 40
    methods = set(re.findall(r"async def (\w+)", "\n".join(lines))) - {"setup"}
    assert methods == {"launch", "stop", "shutdown"}  # the three that the README says are enough


@pytest.mark.long
@pytest.mark.parametrize("page", ["README.md", "docs/backends.md"])
def test_documented_backend_ends_its_machines_as_the_contract_says(page, tmp_path):
    [source] = [s.text for s in snippets(ROOT / page) if "(bm.System)" in s.text]
    definitions = source.partition("\n\n\nwith bm.Session")[0]
    (tmp_path / "documented.py").write_text(f"import bigmachine as bm\n{definitions}\n")
    command = "import sys; from bigmachine.cli import main; sys.exit(main())"
    clauses = "START-1 or SHUTDOWN or CANCEL-2 or CANCEL-3"
    arguments = ["conformance", "documented:Processes", "-k", clauses]
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
