"""What of the environment travels is the session's to say, in a program or in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

import bigmachine as bm
from tests.support.vms.vms import VmSystem


class Echo:
    def echo(self, text: str) -> str:
        return text


# Refused before a machine is bought, so it shows that it was heard.
HEARD = r"exclude_distributions=\['no-such-thing'\]: not installed"
NO_SUCH = bm.EnvironmentOptions(exclude_distributions=("no-such-thing",))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lean: None) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIGMACHINE_ENVIRONMENT_EXCLUDE_DISTRIBUTIONS")
    return tmp_path


def start(environment: bm.EnvironmentOptions | None = None) -> None:
    with bm.Session(VmSystem(), environment=environment) as session:
        session.start(1, services={"Echo": Echo()})


def test_environment_options_apply_to_sync_and_async_api() -> None:
    async def main() -> None:
        async with bm.AsyncSession(VmSystem(), environment=NO_SUCH) as session:
            await session.start(1, services={"Echo": Echo()})

    with pytest.raises(bm.UsageError, match=HEARD):
        trio.run(main)
    with pytest.raises(bm.UsageError, match=HEARD):
        start(NO_SUCH)


def test_precedence_of_environment_options_is_argument_variable_file(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "bigmachine.toml").write_text('environment.exclude_distributions = ["no-such-thing"]')
    with pytest.raises(bm.UsageError, match=HEARD):
        start()
    monkeypatch.setenv("BIGMACHINE_ENVIRONMENT_EXCLUDE_DISTRIBUTIONS", "nothing-either")
    with pytest.raises(bm.UsageError, match="nothing-either"):
        start()
    with pytest.raises(bm.UsageError, match=HEARD):
        start(NO_SUCH)


def test_environment_options_may_be_in_profile(here: Path) -> None:
    text = 'profiles.bare.environment.exclude_distributions = ["no-such-thing"]'
    (here / "bigmachine.toml").write_text(text)
    with (
        bm.Session(VmSystem, profile="bare") as session,
        pytest.raises(bm.UsageError, match=HEARD),
    ):
        session.start(1, services={"Echo": Echo()})


@pytest.mark.parametrize("text", ["environment.witout = []", "environment.limit_bytes = 'all'"])
def test_invalid_environment_options_in_file_fail_when_session_is_created(
    here: Path, text: str
) -> None:
    (here / "bigmachine.toml").write_text(text)
    with pytest.raises(bm.UsageError, match="the environment"):
        bm.Session(VmSystem())


def test_string_instead_of_list_is_refused() -> None:
    with pytest.raises(bm.UsageError, match="exclude is a list of strings, not '\\*.csv'"):
        bm.EnvironmentOptions(exclude="*.csv")  # type: ignore[arg-type]


def test_environment_options_are_ignored_if_no_environment_is_sent(here: Path) -> None:
    (here / "bigmachine.toml").write_text("environment.witout = []")
    with bm.Session("local", environment=NO_SUCH) as session:
        [machine] = session.start(1, services={"Echo": Echo()})
        assert machine.call("Echo.echo", "yes") == "yes"
