"""What newcomers write: each is an error that says what to write instead, or works."""

from __future__ import annotations

import sys
from types import MappingProxyType

import numpy as np
import pytest

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from tests.support.services import Echo


@pytest.fixture(scope="module")
def session():
    with bm.Session(InProcessSystem) as session:
        yield session


@pytest.mark.parametrize(
    ("n", "words"),
    [
        ("5", "must be 1 or more, not '5': write start(5)"),
        (2.0, "must be 1 or more, not 2.0: write start(2)"),
        (0, "must be 1 or more, not 0"),
        (-1, "must be 1 or more, not -1"),
        (2.5, "must be 1 or more, not 2.5"),
        (float("nan"), "must be 1 or more, not nan"),
        (True, "must be 1 or more, not True"),
        (None, "must be 1 or more, not None"),
        ({"Echo": 1}, "not {'Echo': 1}: write start(1, services={...})"),
    ],
)
def test_number_of_machines_that_is_none_is_refused(session, n, words):
    with pytest.raises(bm.UsageError) as caught:
        session.start(n, services={"Echo": Echo()})
    assert str(caught.value).endswith(words)
    assert session.machines == []


@pytest.mark.parametrize(
    ("args", "keywords", "words"),
    [
        (({"Echo": Echo()},), {}, "start takes services by name: write start(1, services={...}), "),
        ((Echo(),), {}, "start takes services, environ or argv by name: write start(1, "),
        ((), {"service": {}}, "services, environ, argv and wait, not service; did you mean 'serv"),
        ((), {"wait": "no"}, "wait is True or False, not 'no'"),
    ],
)
def test_start_that_is_called_wrongly_says_how_to_write_it(session, args, keywords, words):
    with pytest.raises(bm.UsageError) as caught:
        session.start(1, *args, **{"services": {"Echo": Echo()}, **keywords})
    assert words in str(caught.value)
    assert session.machines == []


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"A": 1}, """environ['A'] must be a string, not 1: write "1\""""),
        ({"A": None}, "environ['A'] must be a string, not None"),
        ({"A": b"x"}, "environ['A'] must be a string, not b'x'"),
        ({1: "x"}, "environ: 1 cannot be the name of a variable"),
        ({"": "x"}, "environ: '' cannot be the name of a variable"),
        ({"A=B": "x"}, "environ: 'A=B' cannot be the name of a variable"),
        ({"A": "x\0y"}, "environ['A'] must not contain a null character"),
        ({"A": "\ud800"}, r"environ: '\ud800' can't be encoded: surrogates not allowed"),
        (["A=1"], """write environ={"NAME": "value"}, not ['A=1']"""),
        ("A=1", """write environ={"NAME": "value"}, not 'A=1'"""),
    ],
)
def test_environ_that_no_process_can_have_is_refused(session, environ, words):
    with pytest.raises(bm.UsageError) as caught:
        session.start(1, services={"Echo": Echo()}, environ=environ)
    assert words in str(caught.value)
    assert session.machines == []


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("python x", "argv is a list of strings: write argv=['python', 'x'], not 'python x'"),
        ("it's", 'write argv=["it\'s"]'),
        (["x", 5], 'argv: 5 must be a string: write "5"'),
        (5, 'argv is a list of strings, such as ["program", "x"], not 5'),
        ({"a": 1}, "argv is a list of strings"),
    ],
)
def test_argv_that_is_no_list_of_strings_is_refused(session, argv, words):
    with pytest.raises(bm.UsageError) as caught:
        session.start(1, services={"Echo": Echo()}, argv=argv)
    assert words in str(caught.value)
    assert session.machines == []


def test_wait_and_connect_say_what_they_take_and_other_numbers_and_mappings_work(session):
    environ = MappingProxyType({"A": "1"})
    [machine] = session.start(np.int64(1), services={"Echo": Echo()}, environ=environ, argv=("x",))
    for state in ("RUNNING", "running", "State.RUNNING", 2, None):
        with pytest.raises(
            bm.UsageError, match=r"wait takes a State: write wait\(State\.RUNNING\)"
        ):
            machine.wait(state)
    with pytest.raises(bm.UsageError, match=r"write wait\(State\.STOPPED\), not wait\('stopped'\)"):
        machine.wait("stopped")
    with pytest.raises(bm.UsageError, match="a machine or its address, .*, not 5$"):
        session.connect(5)
    assert session.connect(machine.addr).call("Echo.echo", 1) == 1
    assert session.connect(machine).call("Echo.echo", 2) == 2
    machine.shutdown()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": 5}, "the name of a session is a string, not 5"),
        ({"profile": ["gpu"]}, "the profile of a session is a string, not ['gpu']"),
        ({"plugins": 5}, "plugins is a list: write plugins=[...], not 5"),
        ({"plugins": "x"}, "plugins is a list: write plugins=[...], not 'x'"),
        ({"environment": {"TZ": "UTC"}}, "variables are given to start(environ={...})"),
        ({"system": sys}, "its name, such as 'local', or a System, not <module 'sys'"),
        ({"system": int}, "its name, such as 'local', or a System, not <class 'int'>"),
        (
            {"system": "local", "environ": {"A": "1"}},
            "no option 'environ'; environ is given to start() (set as a keyword;",
        ),
        ({"system": "Local"}, "no system 'Local' is installed; did you mean 'local'?"),
        ({"system": ""}, "no system '' is installed (installed: "),
        (
            {"system": "local", "maxprocs": "2"},
            "option 'maxprocs' of system 'local' takes int, not '2'",
        ),
        ({"system": "local", "maxprocs": True}, "takes int, not True"),
        ({"system": "local", "port": 70000}, "must be between 0 and 65535, not 70000"),
    ],
)
def test_session_that_cannot_be_made_says_why(arguments, words):
    for cls in (bm.Session, bm.AsyncSession):
        with pytest.raises((bm.UsageError, bm.UnknownSystemError)) as caught:
            cls(**{"system": InProcessSystem, **arguments})
        assert words in str(caught.value)
        assert "Options" not in str(caught.value).replace("EnvironmentOptions", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"include": "*.py"}, "include is a list of strings, not '*.py'"),
        ({"exclude": 5}, "exclude is a list of strings, not 5"),
        ({"exclude": [5]}, "exclude has 5, which is no string"),
        ({"limit_bytes": "64MB"}, "limit_bytes is a number of bytes, such as 1073741824 for 1 GiB"),
        ({"limit_bytes": -1}, "not -1"),
        ({"limit_bytes": True}, "not True"),
    ],
)
def test_environment_options_say_what_they_take(arguments, words):
    with pytest.raises(bm.UsageError) as caught:
        bm.EnvironmentOptions(**arguments)
    assert words in str(caught.value)


def test_error_for_variable_names_it(monkeypatch):
    for text, words in {"abc": "takes int, not 'abc'", "0": "must be at least 1, not 0"}.items():
        monkeypatch.setenv("BIGMACHINE_LOCAL_MAXPROCS", text)
        with pytest.raises(bm.UsageError) as caught:
            bm.Session("local")
        assert words in str(caught.value)
        assert "by the environment variable BIGMACHINE_LOCAL_MAXPROCS" in str(caught.value)
