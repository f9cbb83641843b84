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
    choose_system,
    installed_systems,
    load_observers,
    load_system,
)
from bigmachine.system._options import option

SYSTEM = """
from bigmachine.system import System

class {name}(System):
    name = "{name}"

    async def start(self, count): ...
"""


def names() -> list[str]:
    return [entry.name for entry in installed_systems()]


def test_a_system_is_loaded_by_its_entry_points_name(install) -> None:
    install("tiny-cloud", "[bigmachine.systems]\ntiny = tiny:Tiny", tiny=SYSTEM.format(name="Tiny"))
    cls = load_system("tiny")
    assert issubclass(cls, System)
    assert cls.name == "Tiny"


def test_only_the_system_asked_for_is_imported(install) -> None:
    for name in ("asked", "other"):
        entry = f"[bigmachine.systems]\n{name} = {name}_module:System{name}"
        install(name, entry, **{f"{name}_module": SYSTEM.format(name=f"System{name}")})
    load_system("asked")
    assert "asked_module" in sys.modules
    assert "other_module" not in sys.modules


def test_installed_systems_are_listed_without_an_import(install) -> None:
    install("tiny-cloud", "[bigmachine.systems]\ntiny = nowhere:Tiny", version="2.5")
    [entry] = [entry for entry in installed_systems() if entry.name == "tiny"]
    assert (entry.dist, entry.version, entry.value) == ("tiny-cloud", "2.5", "nowhere:Tiny")
    assert "nowhere" not in sys.modules


def test_an_unknown_system_lists_what_is_installed(install) -> None:
    install("tiny-cloud", "[bigmachine.systems]\ntiny = tiny:Tiny")
    with pytest.raises(UnknownSystemError) as caught:
        load_system("teeny")
    assert isinstance(caught.value, LookupError)
    assert "no system 'teeny' is installed" in str(caught.value)
    assert "tiny" in str(caught.value).partition("installed: ")[2]


def test_an_unknown_system_suggests_the_one_meant(install) -> None:
    install("tiny-cloud", "[bigmachine.systems]\ntinycloud = tiny:Tiny")
    with pytest.raises(UnknownSystemError, match="did you mean 'tinycloud'"):
        load_system("tiny-cloud")


@pytest.mark.parametrize(
    ("asked", "hint"),
    [("gcp", ""), ("gpc", "; did you mean 'gcp'?"), ("GC-P", "; did you mean 'gcp'?")],
)
def test_an_unknown_system_says_what_to_pip_install(asked: str, hint: str) -> None:
    with pytest.raises(UnknownSystemError) as caught:
        load_system(asked)
    assert hint in str(caught.value)
    assert 'pip install "bigmachine[gcp]"' in str(caught.value)
    assert "bigmachine[azure]" not in str(caught.value)


def test_a_name_like_none_says_everything_that_can_be_installed() -> None:
    with pytest.raises(UnknownSystemError) as caught:
        load_system("mainframe")
    assert "did you mean" not in str(caught.value)
    for extra in ("gcp", "azure"):
        assert f'pip install "bigmachine[{extra}]"' in str(caught.value)


def test_a_system_installed_while_running_is_found(install) -> None:
    installed_systems()
    install("late", "[bigmachine.systems]\nlate = late:Late", late=SYSTEM.format(name="Late"))
    assert load_system("late").name == "Late"


def test_a_system_that_cannot_be_imported_names_its_dist_and_version(install) -> None:
    install(
        "tiny-cloud",
        "[bigmachine.systems]\ntiny = tiny:Tiny",
        version="0.3",
        tiny="import a_module_nobody_has",
    )
    with pytest.raises(PluginError, match=r"system 'tiny' of tiny-cloud 0\.3") as caught:
        load_system("tiny")
    assert "a_module_nobody_has" in str(caught.value)
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
def test_a_broken_system_is_a_plugin_error(install, source: str, reason: str) -> None:
    install("tiny-cloud", "[bigmachine.systems]\ntiny = tiny:Tiny", tiny=source)
    with pytest.raises(PluginError, match=reason):
        load_system("tiny")


def test_two_dists_with_one_name_are_both_named(install) -> None:
    install("first", "[bigmachine.systems]\ntiny = first:Tiny", version="1.0")
    install("second", "[bigmachine.systems]\ntiny = second:Tiny", version="2.0")
    with pytest.raises(PluginError, match=r"'tiny' is provided by (first|second) .* and by"):
        load_system("tiny")
    with pytest.raises(PluginError, match=r"first 1\.0.*second 2\.0|second 2\.0.*first 1\.0"):
        load_system("tiny")


def test_one_dist_seen_twice_on_the_path_is_no_duplicate(install, tmp_path, monkeypatch) -> None:
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
    assert names().count("tiny") == 1
    load_system("tiny")


@pytest.mark.parametrize(
    "broken_entry_points",
    [
        "[bigmachine.systems]\nbroken = broken_module:Broken",
        "[bigmachine.systems]\nbroken = not even a reference",
        "[bigmachine.systems]\nno equals sign",
    ],
)
def test_a_broken_sibling_breaks_nothing(install, broken_entry_points: str) -> None:
    install("broken", broken_entry_points, broken_module="1/0")
    install("fine", "[bigmachine.systems]\nfine = fine:Fine", fine=SYSTEM.format(name="Fine"))
    assert load_system("fine").name == "Fine"
    assert "broken_module" not in sys.modules


def test_a_dist_with_unreadable_metadata_breaks_nothing(install) -> None:
    site = install("binary", "")
    (site / "binary-1.0.dist-info" / "entry_points.txt").write_bytes(b"[bigmachine.\xff\xfe")
    install("fine", "[bigmachine.systems]\nfine = fine:Fine", fine=SYSTEM.format(name="Fine"))
    assert load_system("fine").name == "Fine"


def test_the_path_is_scanned_once(install) -> None:
    install("fine", "[bigmachine.systems]\nfine = fine:Fine", fine=SYSTEM.format(name="Fine"))
    _entrypoints._scan.cache_clear()
    load_system("fine")
    load_observers()
    installed_systems()
    assert _entrypoints._scan.cache_info().misses == 1


# -- observers -----------------------------------------------------------------


def test_installed_observers_are_loaded_and_broken_ones_left_out(install, caplog) -> None:
    install(
        "watchers",
        """[bigmachine.observers]
        a-class = watchers:Watcher
        a-module = watchers
        unimportable = nowhere
        unmakeable = watchers:Unmakeable
        """.replace(" " * 8, ""),
        watchers=textwrap.dedent("""
            class Watcher: ...
            class Unmakeable:
                def __init__(self): raise RuntimeError("not today")
        """),
    )
    observers = {label: plugin for label, plugin in load_observers().items() if "watch" in label}
    assert list(observers) == ["'a-class' of watchers 1.0", "'a-module' of watchers 1.0"]
    watcher, module = observers.values()
    assert type(watcher).__name__ == "Watcher"
    assert module.__name__ == "watchers"
    assert "skipping observer 'unimportable' of watchers 1.0" in caplog.text
    assert "not today" in caplog.text


def test_each_session_gets_an_observer_of_its_own(install) -> None:
    install("watchers", "[bigmachine.observers]\nw = watchers:W", watchers="class W: ...")
    label = "'w' of watchers 1.0"
    assert load_observers()[label] is not load_observers()[label]


# -- choosing ------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    size: int = option(1, help="How big.")


class Sized(System):
    name = "sized"
    Options = Size

    async def start(self, count): ...


def test_a_system_is_made_with_its_options_by_name_or_by_class(install, monkeypatch) -> None:
    source = f"from {__name__} import Sized"
    install("sized", "[bigmachine.systems]\nsized = sized_module:Sized", sized_module=source)
    assert choose_system("sized", keywords={"size": 3}).options.size == 3
    assert choose_system(Sized, keywords={"size": 4}).options.size == 4
    monkeypatch.setenv("BIGMACHINE_SIZED_SIZE", "5")
    assert choose_system("sized").options.size == 5


def test_a_system_already_made_takes_no_more_options() -> None:
    system = Sized(Size(size=2))
    assert choose_system(system) is system
    with pytest.raises(UsageError, match="'sized' has its options already: remove 'size'"):
        choose_system(system, keywords={"size": 3})
    with pytest.raises(UsageError, match="remove 'profile'"):
        choose_system(system, profile="big")


def test_a_variable_of_a_system_with_a_longer_name_is_left_alone(install, monkeypatch) -> None:
    install("spot", "[bigmachine.systems]\nsized-spot = spot:Spot")
    monkeypatch.setenv("BIGMACHINE_SIZED_SPOT_PRICE", "5")
    assert choose_system(Sized).options.size == 1
    monkeypatch.setenv("BIGMACHINE_SIZED_PRICE", "5")
    with pytest.raises(UsageError, match="BIGMACHINE_SIZED_PRICE"):
        choose_system(Sized)


def test_the_hook_spec_imports_neither_metadata_readers_nor_parsers() -> None:
    code = "import sys, json, bigmachine.system._plugins, bigmachine.system._entrypoints; print(json.dumps(list(sys.modules)))"  # noqa: E501
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert not {"tomllib", "difflib", "cryptography", "argparse"} & set(loaded)
