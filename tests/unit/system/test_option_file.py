"""The file that sets options: where it is looked for, when it is refused, what its errors say."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bigmachine.errors import UsageError
from bigmachine.system._option_file import find_line
from bigmachine.system._options import option, resolve_options


@dataclass(frozen=True, slots=True)
class Options:
    count: int = option(1, help="How many.", minimum=1, maximum=9)
    spot: bool = option(False, help="Whether to ask for spot machines.")


SYSTEMS = ("ec2", "local", "gcp", "my-cloud")


def resolve(profile: str | None = None) -> Options:
    return resolve_options(Options, system_name="ec2", profile=profile, other_systems=SYSTEMS)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.delenv("SUDO_UID", raising=False)
    folder = tmp_path / "me" / "project"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, text: str, name: str = "bigmachine.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


# -- mistakes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\n[ec2s]\ncount = 2", 2, "no table [ec2s]; did you mean [ec2]?"),
        ("[EC2]", 1, "no table [EC2]; did you mean [ec2]?"),
        ("# x\n[profile.gpu.ec2]", 2, "no table [profile]; did you mean [profiles]?"),
        (
            "[profiles.gpu]\n[profiles.gpu.ec]",
            2,
            "[profiles.gpu.ec]; did you mean [profiles.gpu.ec2]",
        ),
        ("[environments]", 1, "no table [environments]; did you mean [environment]?"),
        ("[my_cloud]", 1, "no table [my_cloud]; did you mean [my-cloud]?"),
        ("profiles = {gpu = {lcal = {}}}", 1, "did you mean [profiles.gpu.local]?"),
        ("a = 1", 1, "'a' must be a table, not 1; options are set in the table of their system"),
        ("[profiles]\ngpu = 3", 2, "'gpu' must be a table, not 3"),
        ("[profiles.gpu]\nspot = true", 2, "'spot' must be a table, not True"),
        ("[ec2]\n\ncuont = 2", 3, "has no option 'cuont'; did you mean 'count'?"),
        ("[ec2]\nspot = true\ncount = '2'", 3, "option 'count' of system 'ec2' takes int, not '2'"),
        (
            "ec2.count = 10",
            1,
            "invalid option count: must be between 1 and 9, not 10 (of system 'ec2', set",
        ),
        ("[ec2]\ncount = 1\ncount = 2", 3, "is not valid TOML: Cannot overwrite a value"),
        ("[ec2]\nregion = eu-1", 2, "is not valid TOML: Invalid value; text is written in quotes"),
        ("[ec2]\n\n\ncount = = 2", 4, "is not valid TOML: Invalid value"),
    ],
)
def test_error_names_file_and_line_and_suggests_what_is_meant(folder, text, line, words):
    file = write(folder, text)
    with pytest.raises(UsageError) as caught:
        resolve()
    assert f"{file}, line {line}" in str(caught.value)
    assert words in str(caught.value)


def test_same_mistakes_are_found_in_pyproject(folder):
    file = write(folder, "[project]\nname = 'x'\n\n[tool.bigmachine.ec2s]", "pyproject.toml")
    with pytest.raises(UsageError) as caught:
        resolve()
    text = f"{file}, line 4: no table [tool.bigmachine.ec2s]; did you mean [tool.bigmachine.ec2]?"
    assert str(caught.value).startswith(text)
    write(folder, "[tool.bigmachine.ec2]\ncount = 'x'", "pyproject.toml")
    with pytest.raises(
        UsageError, match=r"set in .*pyproject\.toml, line 2, \[tool\.bigmachine\.ec2"
    ):
        resolve()
    write(folder, "[tool.bigmachines.ec2]\ncount = 2", "pyproject.toml")
    with pytest.raises(UsageError, match=r"line 1: .* did you mean \[tool\.bigmachine\]\?"):
        resolve()


def test_table_of_system_that_is_not_installed_is_ignored_with_warning(folder, caplog):
    file = write(folder, "[ec2]\ncount = 2\n[slurm]\nqueue = 'long'\n[gcp]\n[environment]")
    assert resolve().count == 2
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{file}, line 3: [slurm] is ignored: no system 'slurm'")


def test_text_in_another_encoding_is_refused_and_byte_order_mark_is_not(folder):
    file = folder / "bigmachine.toml"
    file.write_bytes(b"[ec2]\r\n# caf\xe9\r\n")
    with pytest.raises(UsageError, match=f"{file}, line 2: is not UTF-8"):
        resolve()
    file.write_bytes(b"\xef\xbb\xbf[ec2]\r\ncount = 3\r\n")
    assert resolve().count == 3


def test_line_of_table_or_key_is_found():
    text = '[a]\nx = 1\n[[b]]\n[ "c d" . e ] # [f]\n"g.h" = [\n 1]\ni.j = 2\n'
    assert find_line(text, ("a",)) == 1
    assert find_line(text, ("a", "x")) == 2
    assert find_line(text, ("c d", "e")) == 4
    assert find_line(text, ("c d", "e", "g.h")) == 5
    assert find_line(text, ("c d", "e", "i", "j")) == 7
    assert find_line(text, ("f",)) is None


# -- where it is looked for ----------------------------------------------------


def test_search_ends_at_home_folder(folder, tmp_path):
    write(tmp_path, "ec2.count = 3")
    assert resolve().count == 1
    write(tmp_path / "me", "ec2.count = 4")
    assert resolve().count == 4


def test_search_outside_of_home_goes_on_to_the_top(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    write(tmp_path, "ec2.count = 3")
    assert resolve().count == 3


def test_linked_home_folder_ends_search(folder, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to("me")
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    write(tmp_path, "ec2.count = 3")
    assert resolve().count == 1


def test_deleted_current_folder_has_no_file(folder):
    folder.rmdir()
    assert resolve().count == 1
    with pytest.raises(UsageError, match="no profile 'gpu'"):
        resolve("gpu")


# -- whom it is trusted from ---------------------------------------------------

posix = pytest.mark.skipif(sys.platform == "win32", reason="no owners")


@pytest.fixture
def foreign(monkeypatch):
    """Return a function that makes a file another user's."""

    def make(path: Path) -> Path:
        if os.geteuid() == 0:
            os.chown(path, 4242, -1)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 4242)
        return path

    return make


@posix
@pytest.mark.parametrize("name", ["bigmachine.toml", "pyproject.toml"])
def test_file_of_another_user_is_refused_and_says_how_to_mend_it(folder, foreign, name):
    prefix = "tool.bigmachine." if name == "pyproject.toml" else ""
    file = foreign(write(folder, f"[{prefix}ec2]\ncount = 2", name))
    with pytest.raises(UsageError) as caught:
        resolve()
    text = str(caught.value)
    assert text.startswith(f"{file} is not read, because another user (uid ")
    assert f"sudo chown {os.geteuid()} {file}" in text


@posix
def test_file_of_another_user_is_refused_before_it_is_parsed(folder, foreign):
    foreign(write(folder, "[ec2"))
    with pytest.raises(UsageError, match="is not read, because another user"):
        resolve()


@posix
def test_project_of_another_user_without_options_is_no_error(folder, foreign):
    foreign(write(folder, "[project]\nname = 'not-bigmachine'", "pyproject.toml"))
    assert resolve() == Options()


@posix
def test_file_or_folder_that_everybody_can_write_is_refused(folder):
    file = write(folder, "ec2.count = 2")
    file.chmod(0o666)
    with pytest.raises(UsageError, match=f"every user can write to it: run `chmod o-w {file}`"):
        resolve()
    file.chmod(0o664)
    folder.chmod(0o777)
    with pytest.raises(UsageError, match=f"write to its folder: run `chmod o-w {folder}`"):
        resolve()
    folder.chmod(0o1777)  # such as /tmp
    with pytest.raises(UsageError, match="write to its folder"):
        resolve()
    folder.chmod(0o775)
    assert resolve().count == 2


@posix
def test_link_is_judged_by_file_and_folder_that_it_leads_to(folder, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    write(shared, "ec2.count = 2")
    (folder / "bigmachine.toml").symlink_to(shared / "bigmachine.toml")
    assert resolve().count == 2
    shared.chmod(0o777)
    with pytest.raises(UsageError, match=f"chmod o-w {shared}"):
        resolve()


@posix
def test_nearer_file_is_read_before_one_that_is_refused(folder, foreign):
    foreign(write(folder.parent, "ec2.count = 2"))
    with pytest.raises(UsageError, match="nearer to the current one, that is read instead"):
        resolve()
    write(folder, "ec2.count = 3")
    if os.geteuid() != 4242:  # then the nearer one is another user's, too
        assert resolve().count == 3


@posix
def test_user_who_ran_sudo_is_trusted_by_root(folder, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(write(folder, "ec2.count = 2"), 4242, -1)
    monkeypatch.setenv("SUDO_UID", "4242")
    assert resolve().count == 2


# -- ranges --------------------------------------------------------------------


def test_number_out_of_range_is_refused_and_says_where_it_is_set(monkeypatch):
    monkeypatch.setenv("BIGMACHINE_EC2_COUNT", "0")
    with pytest.raises(UsageError) as caught:
        resolve()
    assert str(caught.value) == (
        "invalid option count: must be between 1 and 9, not 0 "
        "(of system 'ec2', set by the environment variable BIGMACHINE_EC2_COUNT). How many"
    )
