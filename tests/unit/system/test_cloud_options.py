"""The options that all clouds share, and the checks of each and of those that belong together."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import bigmachine as bm
from bigmachine.system import CloudOptions, check_options
from bigmachine.system._options import describe_options, resolve_options


@dataclass(frozen=True, slots=True)
class MyOptions(CloudOptions):
    region: str = bm.option("", help="The region.")


def resolved(**keywords: object) -> MyOptions:
    options = resolve_options(MyOptions, system_name="my", keywords=keywords)
    check_options(options, **options.problems())
    return options


def test_a_systems_own_options_are_listed_before_those_of_all_clouds() -> None:
    names = [info.name for info in describe_options(MyOptions, system_name="my")]
    assert names == [
        "region",
        "max_session_cost",
        "idle_timeout",
        "lifetime",
        "immortal",
        "keepalive_timeout",
        "keepalive_period",
        "rpc_timeout",
    ]


@pytest.mark.parametrize(
    ("options", "timings"),
    [
        ({}, bm.Keepalive(60.0, 120.0, 10.0)),
        ({"keepalive_timeout": 10}, bm.Keepalive(5.0, 10.0, 2.5)),
        ({"keepalive_timeout": 86400}, bm.Keepalive(60.0, 86400.0, 10.0)),
        ({"keepalive_period": 110.0}, bm.Keepalive(110.0, 120.0, 10.0)),
        ({"rpc_timeout": 60.0}, bm.Keepalive(60.0, 120.0, 60.0)),
    ],
)
def test_timings_that_are_not_set_follow_the_timeout(options, timings) -> None:
    assert resolved(**options).keepalive() == timings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_session_cost": 0}, "max_session_cost: must be more than 0 US dollars"),
        ({"idle_timeout": 59}, "idle_timeout: must be at least 60, not 59"),
        ({"idle_timeout": float("nan")}, "'idle_timeout' .* takes float or None, not nan"),
        ({"idle_timeout": "30 min"}, "'idle_timeout' .* takes float or None, not '30 min'"),
        (
            {"lifetime": 0.0},
            "lifetime: must be at least 600 seconds, .* may take to boot, not 0.0$",
        ),
        (
            {"lifetime": 599},
            "lifetime: must be at least 600 seconds, .* may take to boot, not 599.0$",
        ),
        ({"lifetime": 1e9}, r"lifetime: must be at most 10368000, not 1000000000.0"),
        (
            {"lifetime": "1h"},
            "takes float or None, not '1h' .*keyword\\). The most that an inst.* sec",
        ),
        ({"immortal": True}, "immortal: needs lifetime, .* add lifetime=3600.0"),
        ({"keepalive_timeout": 9}, "keepalive_timeout: must be between 10 and 86400, not 9"),
        ({"keepalive_timeout": float("inf")}, "'keepalive_timeout' .* takes float, not inf"),
        ({"keepalive_period": 0}, "keepalive_period: must be at least 1, not 0"),
        ({"rpc_timeout": -1}, "rpc_timeout: must be at least 1, not -1"),
        (
            {"keepalive_period": 115.0},
            r"at least 125 \(keepalive_period 115 \+ rpc_timeout 10\), not 120$",
        ),
        (
            {"keepalive_timeout": 30.0, "rpc_timeout": 20.0},
            r"at least 35 \(keepalive_period 15 \+ rpc_timeout 20\), not 30$",
        ),
    ],
)
def test_options_without_sense_are_refused(options, message) -> None:
    with pytest.raises(bm.UsageError, match=message):
        resolved(**options)


def test_immortal_machine_with_a_lifetime_is_accepted() -> None:
    assert resolved(immortal=True, lifetime=600).immortal


def test_machines_that_boot_longer_need_a_longer_lifetime() -> None:
    problems = resolved(lifetime=600).problems(boot_timeout=1800.0)
    assert str(problems["lifetime"]).startswith("must be at least 1800 seconds")


def test_option_of_a_system_is_its_sessions_idle_timeout() -> None:
    class My(bm.System):
        name = "my"
        Options = MyOptions

    assert My().idle_timeout is None
    assert My(resolved(idle_timeout=90)).idle_timeout == 90.0
    assert bm.System().idle_timeout is None
