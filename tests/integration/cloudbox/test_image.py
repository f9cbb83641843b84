"""The image is built once for each recipe, and missing requirements are reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.cloudbox import _image, why_not


def test_edited_recipe_has_new_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = _image.root()
    assert before.is_relative_to(tmp_path / "bigmachine" / "cloudbox")
    assert _image.root() == before
    edited = tmp_path / "image.sh"
    edited.write_bytes(_image.RECIPE.read_bytes() + b"# an edit\n")
    monkeypatch.setattr(_image, "RECIPE", edited)
    assert _image.root() != before


def test_failed_build_leaves_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "image.sh"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_image, "RECIPE", recipe)
    monkeypatch.setattr(_image, "IN_NAMESPACES", [])
    recipe.write_text('mkdir "$1"; exit 1\n')
    with pytest.raises(Exception, match="exit status 1"):
        _image.build()
    assert not _image.root().exists()
    recipe.write_text('mkdir "$1"\n')
    assert _image.build() == _image.root()
    assert _image.root().exists()


def test_missing_tool_is_reported_with_command_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why_not() == "needs root"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "needs ip, mmdebstrap, " in why_not()
    assert "apt-get install iproute2 mmdebstrap nftables systemd-container util-linux" in why_not()


def test_missing_image_is_reported_with_command_to_build_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := why_not(image=False):
        pytest.skip(reason)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert why_not() == "needs its image: python -m tests.support.cloudbox build"
