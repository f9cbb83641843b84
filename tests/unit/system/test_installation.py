"""The command that installs what is missing works before the first release, and after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bigmachine.system._installation import install_command


@pytest.fixture
def clone(tmp_path, install) -> Path:
    """A clone with the plugin ``ec2``, whose ``core`` is installed."""
    site = install("bigmachine", "")
    clone = tmp_path / "my clone"
    for folder in ("core", "plugins/ec2"):
        (clone / folder).mkdir(parents=True)
    (clone / "core/pyproject.toml").touch()
    direct = {"url": (clone / "core").as_uri(), "dir_info": {"editable": True}}
    [info] = site.glob("bigmachine-*.dist-info")
    (info / "direct_url.json").write_text(json.dumps(direct))
    return clone


def test_what_a_clone_has_is_installed_from_the_clone(clone):
    plugin, core = clone / "plugins/ec2", clone / "core"
    assert install_command("ec2") == f"pip install -e '{plugin}'"
    assert install_command("testing") == f"pip install -e '{core}[testing]'"
    assert install_command("gpu", "ec2") == f"pip install -e '{core}[gpu]' -e '{plugin}'"


def test_without_a_clone_the_index_is_named(clone):
    (clone / "core/pyproject.toml").unlink()
    assert install_command("local", "ec2") == 'pip install "bigmachine[local,ec2]"'
