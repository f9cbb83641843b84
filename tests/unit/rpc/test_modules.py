"""Modules that only this process has are sent by value, and all others by name."""

from __future__ import annotations

import importlib
import importlib.util
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from bigmachine.errors import UsageError
from bigmachine.rpc import PickledService, dumps_whole, load_service
from tests.unit.rpc.other_side import OtherSide

SOURCE = """
import dataclasses

@dataclasses.dataclass
class Point:
    x: int

    def twice(self):
        return Point(scale(self.x))

def scale(x):
    return FACTOR * x

FACTOR = 2
"""


def from_file(name: str, file: Path) -> ModuleType:
    """Load a module as pytest's ``--import-mode=importlib`` does."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def executed(name: str, file: Path) -> ModuleType:
    module = sys.modules[name] = ModuleType(name)
    exec(SOURCE, vars(module))
    return module


def spawned(name: str, file: Path) -> ModuleType:
    """Load the script as a child of multiprocessing does."""
    module = sys.modules["__mp_main__"] = ModuleType("__mp_main__")
    vars(module).update(runpy.run_path(str(file), run_name="__mp_main__"))
    return module


def deleted(name: str, file: Path) -> ModuleType:
    sys.path.insert(0, str(file.parent))
    importlib.invalidate_caches()
    module = importlib.import_module(file.stem)
    file.unlink()
    importlib.invalidate_caches()
    return module


def shadowed(name: str, file: Path) -> ModuleType:
    """Load another module with the name of one that can be imported."""
    return from_file("tests.support.waiting", file)


MODULES: dict[str, Callable[[str, Path], ModuleType]] = {
    "loaded from a file": from_file,
    "loaded from a file, in a folder": lambda name, file: from_file(f"unknown_folder.{name}", file),
    "made by exec": executed,
    "of a spawned child": spawned,
    "whose file is deleted": deleted,
    "that has another's name": shadowed,
}


@pytest.mark.parametrize("how", MODULES)
def test_module_that_cannot_be_imported_is_sent_by_value(
    how: str, other_side: OtherSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    file = tmp_path / "only_here.py"
    file.write_text(SOURCE)
    point = MODULES[how]("only_here", file).Point
    assert other_side.evaluate(dumps_whole(point(2)), "value.twice().x") == 4
    assert other_side.evaluate(dumps_whole(point(2)), "value.twice()") == point(4)


def test_module_that_opens_session_on_import_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "unguarded.py").write_text(
        "import bigmachine as bm\n"
        "class Service:\n    def answer(self): pass\n"
        "with bm.Session('local') as session:\n"
        "    session.start(1, services={'S': Service()})\n"
    )
    with pytest.raises(UsageError, match='below `if __name__ == "__main__":`'):
        load_service("S", PickledService([b"cunguarded\nService\n."]))  # as a machine does
    with pytest.raises(UsageError, match="'unguarded', which is still being imported"):
        importlib.import_module("unguarded")


LOADS_MANY = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
from bigmachine.rpc.pickling._modules import is_importable
print([name for name in [*sys.modules] if not is_importable(name)])
"""


def test_modules_that_were_imported_by_name_are_sent_by_name() -> None:
    names = (
        "numpy numpy.random trio attrs six.moves collections.abc os.path xml.etree.ElementTree "
        "multiprocessing.managers cryptography.x509 pluggy concurrent.futures zipimport yaml "
        "tests.support tests.support.waiting bigmachine_local"
    )
    run = subprocess.run(
        [sys.executable, "-c", LOADS_MANY, *names.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "['__main__']\n"
