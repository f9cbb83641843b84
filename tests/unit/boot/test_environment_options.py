"""The session's options decide which parts of the environment are sent."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trio

import bigmachine as bm
from bigmachine.boot._shipment import Shipment
from tests.support.services import Echo
from tests.support.vms.vms import VmSystem

# This error, before any machine is launched, shows that the options were read.
NOT_INSTALLED = r"exclude_distributions=\['no-such-distribution'\]: not installed"
UNKNOWN_DISTRIBUTION = bm.EnvironmentOptions(exclude_distributions=("no-such-distribution",))


@pytest.fixture(autouse=True)
def current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lean: None) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIGMACHINE_ENVIRONMENT_EXCLUDE_DISTRIBUTIONS")
    return tmp_path


def start(environment: bm.EnvironmentOptions | None = None) -> None:
    with bm.Session(VmSystem(), environment=environment) as session:
        session.start(1, services={"Echo": Echo()})


def test_environment_options_apply_to_sync_and_async_api() -> None:
    async def main() -> None:
        async with bm.AsyncSession(VmSystem(), environment=UNKNOWN_DISTRIBUTION) as session:
            await session.start(1, services={"Echo": Echo()})

    with pytest.raises(bm.UsageError, match=NOT_INSTALLED):
        trio.run(main)
    with pytest.raises(bm.UsageError, match=NOT_INSTALLED):
        start(UNKNOWN_DISTRIBUTION)


def test_precedence_of_environment_options_is_argument_variable_file(
    current_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (current_folder / "bigmachine.toml").write_text(
        'environment.exclude_distributions = ["no-such-distribution"]'
    )
    with pytest.raises(bm.UsageError, match=NOT_INSTALLED):
        start()
    monkeypatch.setenv("BIGMACHINE_ENVIRONMENT_EXCLUDE_DISTRIBUTIONS", "also-missing")
    with pytest.raises(bm.UsageError, match="also-missing"):
        start()
    with pytest.raises(bm.UsageError, match=NOT_INSTALLED):
        start(UNKNOWN_DISTRIBUTION)


def test_environment_options_may_be_in_profile(current_folder: Path) -> None:
    text = 'profiles.bare.environment.exclude_distributions = ["no-such-distribution"]'
    (current_folder / "bigmachine.toml").write_text(text)
    with (
        bm.Session(VmSystem, profile="bare") as session,
        pytest.raises(bm.UsageError, match=NOT_INSTALLED),
    ):
        session.start(1, services={"Echo": Echo()})


@pytest.mark.parametrize("text", ["environment.witout = []", "environment.limit_bytes = 'all'"])
def test_invalid_environment_options_in_file_fail_when_session_is_created(
    current_folder: Path, text: str
) -> None:
    (current_folder / "bigmachine.toml").write_text(text)
    with pytest.raises(bm.UsageError, match="the environment"):
        bm.Session(VmSystem())


def test_misspelt_name_has_a_hint() -> None:
    with pytest.raises(bm.UsageError, match="has no 'exclud'; did you mean 'exclude'?"):
        bm.EnvironmentOptions(exclud=["*.csv"])  # type: ignore[call-arg]
    with pytest.raises(bm.UsageError, match="has no 'size'; there is include, exclude, exclude_d"):
        bm.EnvironmentOptions(size=3)  # type: ignore[call-arg]


def test_string_instead_of_list_is_refused() -> None:
    with pytest.raises(bm.UsageError, match="exclude is a list of strings, not '\\*.csv'"):
        bm.EnvironmentOptions(exclude="*.csv")  # type: ignore[arg-type]


def test_program_in_home_folder_is_refused_before_anything_is_launched(
    current_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(current_folder))
    monkeypatch.syspath_prepend(current_folder)
    system = VmSystem()
    with (
        bm.Session(system) as session,
        pytest.raises(bm.UsageError, match=f"{current_folder} is your home folder"),
    ):
        session.start(1, services={"Echo": Echo()})
    assert system.vms == {}


def test_session_logs_secrets_that_it_does_not_send(
    current_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (current_folder / ".env").write_text("A=1")
    monkeypatch.syspath_prepend(current_folder)
    caplog.set_level(logging.INFO)
    shipment = trio.run(Shipment.capture, bm.EnvironmentOptions())
    [message] = [text for text in caplog.messages if "secrets" in text]
    assert ".env (settings that often hold secrets)" in message
    assert not [path for path in shipment.manifest["content"]["files"] if path.endswith("/.env")]
    caplog.clear()
    shipment = trio.run(Shipment.capture, bm.EnvironmentOptions(include=["/.env"]))
    assert not [text for text in caplog.messages if ".env" in text]
    assert [path for path in shipment.manifest["content"]["files"] if path.endswith("/.env")]


def test_environment_options_are_ignored_if_no_environment_is_sent(current_folder: Path) -> None:
    (current_folder / "bigmachine.toml").write_text("environment.witout = []")
    with bm.Session("local", environment=UNKNOWN_DISTRIBUTION) as session:
        [machine] = session.start(1, services={"Echo": Echo()})
        assert machine.call("Echo.echo", "yes") == "yes"
