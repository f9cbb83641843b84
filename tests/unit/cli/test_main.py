from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bigmachine import cli
from bigmachine.cli import main
from bigmachine.errors import UsageError


def run(*argv: str, **options) -> subprocess.CompletedProcess[str]:
    code = "import sys; from bigmachine.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False, **options
    )


def test_help_shows_commands_and_examples(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "systems" in out
    assert "bigmachine systems local" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_version_is_printed(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bigmachine ")


def test_missing_command_shows_help_and_fails(capsys) -> None:
    assert main([]) == 2
    assert "usage: bigmachine" in capsys.readouterr().err


def test_unknown_command_fails_with_status_2() -> None:
    done = run("sistems")
    assert done.returncode == 2
    assert "error: no command 'sistems'; did you mean 'systems'?" in done.stderr


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["check", "ec2", "market=spot"], "; write an option of the system as -o KEY=VALUE"),
        (["ps", "ec2", "--region", "us-east-1"], "; write an option of the system as -o KEY=VALUE"),
        (["systems", "local", "ec2"], ""),
    ],
)
def test_unknown_argument_says_how_options_are_written(capsys, argv, hint) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    unknown = " ".join(argv[2:])
    assert capsys.readouterr().err.endswith(f"unrecognized arguments: {unknown}{hint}\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["xyz"], "no command 'xyz'; there is systems, check, "),
        (["top", "--sesion", "x"], "unrecognized arguments: --sesion x; did you mean '--session'?"),
    ],
)
def test_unknown_word_of_command_line_gets_a_hint(capsys, argv, message) -> None:
    with pytest.raises(SystemExit):
        main(argv)
    assert message in capsys.readouterr().err


def test_bigmachine_error_is_printed_without_traceback(install, capsys, monkeypatch) -> None:
    class Command:
        @staticmethod
        def add(commands) -> None:
            def fail(arguments) -> int:
                raise UsageError("no such file")

            commands.add_parser("fail").set_defaults(run=fail)

    monkeypatch.setattr(cli, "_COMMANDS", (Command,))
    assert main(["fail"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "bigmachine: no such file\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "bigmachine: interrupted\n"),
        (KeyboardInterrupt("run it again"), 130, "bigmachine: run it again\n"),
    ],
)
def test_ctrl_c_is_one_line(capsys, monkeypatch, error, status, line) -> None:
    class Command:
        @staticmethod
        def add(commands) -> None:
            def interrupted(arguments) -> int:
                raise error

            commands.add_parser("wait").set_defaults(run=interrupted)

    monkeypatch.setattr(cli, "_COMMANDS", (Command,))
    assert main(["wait"]) == status
    assert capsys.readouterr().err == line


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_that_cannot_be_written_is_one_line() -> None:
    code = "import sys; from bigmachine.cli import main; sys.exit(main())"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "systems"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (2, "bigmachine: No space left on device\n")


def test_command_works_with_closed_streams(tmp_path) -> None:
    # What it opens must not become its standard output.
    code = "import sys; from bigmachine.cli import main; s = main(); open('s', 'w').write(str(s))"
    command = 'exec "$0" -c "$1" systems <&- >&- 2>&-'
    subprocess.run(["sh", "-c", command, sys.executable, code], cwd=tmp_path, check=True)
    assert (tmp_path / "s").read_text() == "0"


def test_closed_standard_output_causes_no_traceback() -> None:
    code = "import sys; from bigmachine.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "systems"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()  # long before the command can print anything
    process.stdin.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert error == b""


@pytest.mark.parametrize(
    ("redirection", "environ", "status", "error"),
    [
        (">/dev/full", {}, 2, "bigmachine: No space left on device"),
        (">&-", {}, 0, ""),
        (">/dev/null", {"PYTHONIOENCODING": "ascii"}, 0, ""),
    ],
)
def test_command_copes_with_any_stdout(redirection, environ, status, error) -> None:
    code = "import sys, bigmachine.cli as cli; cli._print_version = lambda _: print('→') or 0; "
    code += "sys.exit(cli.main(['--version']))"
    run = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code],
        env={**os.environ, **environ},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (run.returncode, run.stderr.startswith(error)) == (status, True)
    assert "Traceback" not in run.stderr


def test_cli_imports_no_heavy_modules() -> None:
    code = "import sys, json, bigmachine; a = set(sys.modules); import bigmachine.cli; "
    code += "print(json.dumps(sorted(set(sys.modules) - a)))"
    added = set(json.loads(subprocess.check_output([sys.executable, "-c", code])))
    heavy = {"rich", "cryptography", "httpx", "trio", "tomllib", "importlib.metadata", "pluggy"}
    assert not heavy & added
