"""What resources say about their session is read by any process, on each cloud."""

from __future__ import annotations

import datetime

import pytest

from bigmachine.boot import Driver
from bigmachine.cloud import machine_port, resource_details, session_facts
from bigmachine.system import VmOptions

SESSION = "main-0123abcd.bigmachine"
DRIVER = Driver(7, 8, "here", host="my host", user="me", command="app --verbose")


def facts_of(*, driver=DRIVER, is_detailed=True, **options):
    return session_facts(
        SESSION,
        driver,
        VmOptions(**options),
        is_detailed=is_detailed,
        clean=lambda name, text: f"{name}:{text.strip()}" if text.strip() else "",
    )


def test_resources_tell_session_driver_and_time():
    facts = facts_of()
    started = datetime.datetime.fromisoformat(facts.pop("started"))
    assert abs(datetime.datetime.now(datetime.UTC) - started) < datetime.timedelta(minutes=5)
    assert facts == {
        "session": SESSION,
        "driver": str(DRIVER),
        "host": "host:my host",
        "user": "user:me",
        "command": "command:app --verbose",
    }


def test_user_and_command_are_told_if_they_are_known_and_may_be():
    assert not {"user", "command"} & facts_of(is_detailed=False).keys()
    nobody = Driver(7, 8, "here", user=" ", command="")
    assert not {"user", "command"} & facts_of(driver=nobody).keys()


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({}, {}),
        ({"immortal": True, "lifetime": 60.0}, {"immortal": "yes"}),
        ({"port": 8443}, {"port": "8443"}),
    ],
)
def test_what_is_not_the_default_is_told(options, more):
    facts = facts_of(**options)
    assert {name: facts[name] for name in ("immortal", "port") if name in facts} == more


def test_details_of_a_resource_have_what_it_says():
    tags = {f"bigmachine:{name}": value for name, value in facts_of().items()}
    details = resource_details(tags, prefix="bigmachine:", kind="disk", state="used")
    assert details.pop("started")
    assert details == {
        "kind": "disk",
        "session": SESSION,
        "driver": str(DRIVER),
        "host": "host:my host",
        "state": "used",
    }
    assert resource_details({}, kind="disk")["session"] == ""


def test_port_is_the_one_that_was_told_or_the_default():
    assert machine_port(facts_of(port=8443)["port"]) == 8443
    for text in ("", "no", "1e3", "-1", "²", "0", "65536", "9" * 5000):
        assert machine_port(text) == VmOptions().port
