from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import pytest

from bigmachine.errors import PluginError, UnknownSystemError, UsageError
from bigmachine.system import System, _entrypoints
from bigmachine.system._entrypoints import (
    EXTRAS,
    choose_system,
    installed_systems,
    load_observers,
    load_system,
)
from bigmachine.system._options import option
from tests.support.paths import ROOT

SYSTEM = """
from bigmachine.system import System

class {name}(System):
    name = "{name}"

    async def start(self, count): ...
"""


def installed_names() -> list[str]:
    return [entry.name for entry in installed_systems()]


def test_system_is_loaded_by_name_of_its_entry_point(install) -> None:
    install("tiny-cloud", "[bigmachine.systems]\ntiny = tiny:Tiny", tiny=SYSTEM.format(name="Tiny"))
    cls = load_system("tiny")
    assert issubclass(cls, System)
    assert cls.name == "Tiny"


def test_only_requested_system_is_imported(install) -> None:
    for name in ("requested", "other"):
        entry = f"[bigmachine.systems]\n{name} = {name}_module:System{name}"
        install(name, entry, **{f"{name}_module": SYSTEM.format(name=f"System{name}")})
    load_system("requested")
    assert "requested_module" in sys.modules
    assert "other_module" not in sys.modules


def test_installed_systems_are_listed_without_importing_them(install) -> None:
    install("tiny-cloud", "[bigmachine.systems]\ntiny = nowhere:Tiny", version="2.5")
    [entry] = [entry for entry in installed_systems() if entry.name == "tiny"]
    assert (entry.dist, entry.version, entry.value) == ("tiny-cloud", "2.5", "nowhere:Tiny")
    assert "nowhere" not in sys.modules


def test_error_for_unknown_system_lists_installed_systems(install) -> None:
    install("tiny-cloud", "[bigmachine.systems]\ntiny = tiny:Tiny")
    with pytest.raises(UnknownSystemError) as caught:
        load_system("teeny")
    assert isinstance(caught.value, LookupError)
    assert "no system 'teeny' is installed" in str(caught.value)
    assert "tiny" in str(caught.value).partition("installed: ")[2]


def test_error_for_unknown_system_suggests_similar_name(install) -> None:
    install("tiny-cloud", "[bigmachine.systems]\ntinycloud = tiny:Tiny")
    with pytest.raises(UnknownSystemError, match="did you mean 'tinycloud'"):
        load_system("tiny-cloud")


@pytest.mark.parametrize(
    ("requested", "hint"),
    [("ec2", ""), ("ec", "; did you mean 'ec2'?"), ("EC-2", "; did you mean 'ec2'?")],
)
def test_error_for_unknown_system_names_package_to_install(
    without_distributions: None, requested: str, hint: str
) -> None:
    with pytest.raises(UnknownSystemError) as caught:
        load_system(requested)
    assert hint in str(caught.value)
    assert 'pip install "bigmachine[ec2]"' in str(caught.value)
    assert "bigmachine[local]" not in str(caught.value)


def test_error_without_similar_system_lists_all_available_packages(
    without_distributions: None,
) -> None:
    with pytest.raises(UnknownSystemError) as caught:
        load_system("mainframe")
    assert "did you mean" not in str(caught.value)
    for extra in EXTRAS:
        assert f'pip install "bigmachine[{extra}]"' in str(caught.value)


def test_only_packages_that_exist_are_offered() -> None:
    assert {file.parent.name for file in ROOT.glob("plugins/*/pyproject.toml")} == {*EXTRAS}


@pytest.fixture
def without_distributions(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])


def test_system_installed_at_run_time_is_found(install) -> None:
    installed_systems()
    install("late", "[bigmachine.systems]\nlate = late:Late", late=SYSTEM.format(name="Late"))
    assert load_system("late").name == "Late"


def test_import_error_names_distribution_and_version_of_system(install) -> None:
    install(
        "tiny-cloud",
        "[bigmachine.systems]\ntiny = tiny:Tiny",
        version="0.3",
        tiny="import no_such_module",
    )
    with pytest.raises(PluginError, match=r"system 'tiny' of tiny-cloud 0\.3") as caught:
        load_system("tiny")
    assert "no_such_module" in str(caught.value)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise SystemExit(3)", "SystemExit"),
        ("Other = 1", "AttributeError"),
        ("class Tiny: ...", "not a subclass of bigmachine.system.System"),
        ("Tiny = 1", "not a subclass of bigmachine.system.System"),
    ],
)
def test_broken_system_raises_plugin_error(install, source: str, reason: str) -> None:
    install("tiny-cloud", "[bigmachine.systems]\ntiny = tiny:Tiny", tiny=source)
    with pytest.raises(PluginError, match=reason):
        load_system("tiny")


def test_error_for_duplicate_system_names_both_distributions(install) -> None:
    install("first", "[bigmachine.systems]\ntiny = first:Tiny", version="1.0")
    install("second", "[bigmachine.systems]\ntiny = second:Tiny", version="2.0")
    with pytest.raises(PluginError, match=r"'tiny' is provided by (first|second) .* and by"):
        load_system("tiny")
    with pytest.raises(PluginError, match=r"first 1\.0.*second 2\.0|second 2\.0.*first 1\.0"):
        load_system("tiny")


def test_distribution_twice_on_import_path_is_not_a_duplicate(
    install, tmp_path, monkeypatch
) -> None:
    entry = "[bigmachine.systems]\ntiny = tiny:Tiny"
    site = install("tiny-cloud", entry, tiny=SYSTEM.format(name="Tiny"))
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "tiny_cloud-0.9.dist-info").mkdir()
    for file in (site / "tiny_cloud-1.0.dist-info").iterdir():
        (copy / "tiny_cloud-0.9.dist-info" / file.name).write_text(
            file.read_text().replace("Version: 1.0", "Version: 0.9")
        )
    monkeypatch.syspath_prepend(copy)
    assert installed_names().count("tiny") == 1
    load_system("tiny")


@pytest.mark.parametrize(
    "broken_entry_points",
    [
        "[bigmachine.systems]\nbroken = broken_module:Broken",
        "[bigmachine.systems]\nbroken = not even a reference",
        "[bigmachine.systems]\nno equals sign",
    ],
)
def test_broken_entry_point_does_not_affect_other_systems(
    install, broken_entry_points: str
) -> None:
    install("broken", broken_entry_points, broken_module="1/0")
    install("fine", "[bigmachine.systems]\nfine = fine:Fine", fine=SYSTEM.format(name="Fine"))
    assert load_system("fine").name == "Fine"
    assert "broken_module" not in sys.modules


def test_unreadable_metadata_does_not_affect_other_systems(install) -> None:
    site = install("binary", "")
    (site / "binary-1.0.dist-info" / "entry_points.txt").write_bytes(b"[bigmachine.\xff\xfe")
    install("fine", "[bigmachine.systems]\nfine = fine:Fine", fine=SYSTEM.format(name="Fine"))
    assert load_system("fine").name == "Fine"


def test_error_for_missing_default_system_blames_no_variable(monkeypatch) -> None:
    monkeypatch.delenv("BIGMACHINE_SYSTEM", raising=False)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UnknownSystemError, match="^no system 'local' is installed") as caught:
        choose_system(None)
    assert "To add 'local': " in str(caught.value)


def test_import_path_is_scanned_once(install) -> None:
    install("fine", "[bigmachine.systems]\nfine = fine:Fine", fine=SYSTEM.format(name="Fine"))
    _entrypoints._scan.cache_clear()
    load_system("fine")
    load_observers()
    installed_systems()
    assert _entrypoints._scan.cache_info().misses == 1


# -- observers -----------------------------------------------------------------


def test_installed_observers_are_loaded_and_broken_ones_are_skipped(install, caplog) -> None:
    install(
        "watchers",
        """[bigmachine.observers]
        a-class = watchers:Watcher
        a-module = watchers
        missing = nowhere
        failing = watchers:Failing
        """.replace(" " * 8, ""),
        watchers=textwrap.dedent("""
            class Watcher: ...
            class Failing:
                def __init__(self): raise RuntimeError("not today")
        """),
    )
    observers = {label: plugin for label, plugin in load_observers().items() if "watch" in label}
    assert list(observers) == ["'a-class' of watchers 1.0", "'a-module' of watchers 1.0"]
    watcher, module = observers.values()
    assert type(watcher).__name__ == "Watcher"
    assert module.__name__ == "watchers"
    assert "skipping observer 'missing' of watchers 1.0" in caplog.text
    assert "not today" in caplog.text


def test_each_session_gets_its_own_observer(install) -> None:
    install("watchers", "[bigmachine.observers]\nw = watchers:W", watchers="class W: ...")
    label = "'w' of watchers 1.0"
    assert load_observers()[label] is not load_observers()[label]


# -- choosing a system ---------------------------------------------------------


@dataclass(frozen=True)
class Size:
    size: int = option(1, help="How big.")


class Sized(System):
    name = "sized"
    Options = Size

    async def start(self, count): ...


def test_system_is_created_with_options_from_name_or_class(install, monkeypatch) -> None:
    source = f"from {__name__} import Sized"
    install("sized", "[bigmachine.systems]\nsized = sized_module:Sized", sized_module=source)
    assert choose_system("sized", keywords={"size": 3}).options.size == 3
    assert choose_system(Sized, keywords={"size": 4}).options.size == 4
    monkeypatch.setenv("BIGMACHINE_SIZED_SIZE", "5")
    assert choose_system("sized").options.size == 5


def test_options_for_system_instance_are_refused() -> None:
    system = Sized(Size(size=2))
    assert choose_system(system) is system
    with pytest.raises(UsageError, match="'sized' has its options already: remove 'size'"):
        choose_system(system, keywords={"size": 3})
    with pytest.raises(UsageError, match="remove 'profile'"):
        choose_system(system, profile="big")


def test_variable_of_system_with_longer_name_is_ignored(install, monkeypatch) -> None:
    install("spot", "[bigmachine.systems]\nsized-spot = spot:Spot")
    monkeypatch.setenv("BIGMACHINE_SIZED_SPOT_PRICE", "5")
    assert choose_system(Sized).options.size == 1
    monkeypatch.setenv("BIGMACHINE_SIZED_PRICE", "5")
    with pytest.raises(UsageError, match="BIGMACHINE_SIZED_PRICE"):
        choose_system(Sized)


def test_hook_spec_imports_no_metadata_readers_or_parsers() -> None:
    code = "import sys, json, bigmachine.system._plugins, bigmachine.system._entrypoints; print(json.dumps(list(sys.modules)))"  # noqa: E501
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert not {"tomllib", "difflib", "cryptography", "argparse"} & set(loaded)


def test_misspelt_system_in_name_of_variable_is_a_warning(monkeypatch, caplog) -> None:
    monkeypatch.setenv("BIGMACHINE_LOCL_MAXPROCS", "2")
    monkeypatch.setenv("BIGMACHINE_ENVIRONEMENT_EXCLUDE", "*")
    monkeypatch.setenv("BIGMACHINE_TEST_LONG", "0")
    choose_system("local")
    assert caplog.messages == [
        "the environment variable BIGMACHINE_ENVIRONEMENT_EXCLUDE is ignored; "
        "did you mean BIGMACHINE_ENVIRONMENT_…?",
        "the environment variable BIGMACHINE_LOCL_MAXPROCS is ignored; "
        "did you mean BIGMACHINE_LOCAL_…?",
    ]
