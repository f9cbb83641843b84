from __future__ import annotations

import sys

import pytest

from bigmachine._values import size_text
from bigmachine.environment import Target
from bigmachine.errors import UsageError


def test_target_is_parsed_from_text_and_formatted_to_same_text():
    target = Target.parse("linux/x86_64/py3.11")
    assert target == Target(system="linux", machine="x86_64", python="3.11")
    assert str(target) == "linux/x86_64/py3.11"
    assert str(Target.here()).endswith(f"/py3.{sys.version_info.minor}")


def test_aliases_of_processor_have_one_name():
    assert Target.parse("macos/arm64/py3.12") == Target.parse("macos/aarch64/py3.12")
    assert Target.parse("windows/amd64/py3.12").machine == "x86_64"


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/x86_64", "linux/x86_64/3.11", "linux/vax/py3.11"]
)
def test_invalid_target_is_refused_with_example(text):
    with pytest.raises(UsageError, match=r"is not a target such as linux/x86_64/py3\.11"):
        Target.parse(text)


def test_sizes_are_formatted_with_binary_units():
    sizes = [0, 1023, 1024, 1536 << 10, 5 << 30, 5000 << 30]
    texts = ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB", "5000.0 GiB"]
    assert [size_text(size) for size in sizes] == texts
