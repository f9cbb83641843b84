from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from bigmachine.errors import PluginError, UsageError
from bigmachine.system._options import (
    OptionInfo,
    describe_options,
    option,
    resolve_options,
    unwritable_options,
)


class Disk(enum.Enum):
    SSD = "ssd"
    HDD = "hdd"


@dataclass(frozen=True, slots=True)
class Options:
    instance_type: str = option("small", help="What to launch.")
    count: int = option(1, help="How many.")
    price: float | None = option(None, help="At most this, in dollars an hour.")
    spot: bool = option(False, help="Whether to ask for spot machines.")
    zones: tuple[str, ...] = option((), help="Where.")
    ports: list[int] = field(default_factory=list)
    market: Literal["spot", "on-demand"] = option("spot", help="How to buy.")
    disk: Disk = option(Disk.SSD, help="Which disk.")
    key: Path | None = option(None, help="A file.")
    depth: int = option(1, help="How deep.", maximum=3)


@pytest.fixture(autouse=True)
def current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project" / "src"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def resolve(profile: str | None = None, /, **keywords: Any) -> Options:
    return resolve_options(Options, system_name="ec2", keywords=keywords, profile=profile)


# -- precedence ----------------------------------------------------------------


def test_precedence_is_keyword_environment_profile_table_default(
    current_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve().instance_type == "small"
    (current_folder / "bigmachine.toml").write_text("""
        [ec2]
        instance_type = "table"
        count = 7
        [profiles.big.ec2]
        instance_type = "profile"
    """)
    assert resolve().instance_type == "table"
    assert resolve("big") == Options(instance_type="profile", count=7)
    monkeypatch.setenv("BIGMACHINE_EC2_INSTANCE_TYPE", "environment")
    assert resolve("big").instance_type == "environment"
    assert resolve("big", instance_type="keyword").instance_type == "keyword"


@pytest.mark.parametrize("folder", [".", "..", "../.."])
def test_nearest_file_in_current_or_parent_folder_is_read(
    current_folder: Path, folder: str
) -> None:
    (current_folder / folder / "bigmachine.toml").write_text("ec2.count = 3")
    assert resolve().count == 3


def test_nearer_file_hides_file_in_parent_folder(current_folder: Path) -> None:
    (current_folder / "bigmachine.toml").write_text("ec2.count = 3")
    (current_folder.parent / "bigmachine.toml").write_text("ec2.count = 4\nec2.spot = true")
    assert resolve() == Options(count=3)


def test_options_may_be_in_pyproject(current_folder: Path) -> None:
    # The word is in the nearer file, but no table for bigmachine.
    (current_folder / "pyproject.toml").write_text("[project]\nname = 'not-bigmachine'")
    (current_folder.parent / "pyproject.toml").write_text("""
        [tool.bigmachine.ec2]
        count = 5
        [tool.bigmachine.profiles.big.ec2]
        count = 50
    """)
    assert resolve().count == 5
    assert resolve("big").count == 50


def test_malformed_pyproject_that_does_not_mention_bigmachine_is_ignored(
    current_folder: Path,
) -> None:
    (current_folder / "pyproject.toml").write_text("this is [not toml")
    assert resolve() == Options()


def test_profile_without_this_system_keeps_table_of_system(current_folder: Path) -> None:
    (current_folder / "bigmachine.toml").write_text("ec2.count = 3\nprofiles.big.gcp.count = 30")
    assert resolve("big").count == 3


def test_invalid_value_is_ignored_if_overridden(monkeypatch) -> None:
    monkeypatch.setenv("BIGMACHINE_EC2_COUNT", "many")
    assert resolve(count=2).count == 2


# -- mistakes ------------------------------------------------------------------


def test_misspelt_keyword_suggests_correct_option() -> None:
    with pytest.raises(UsageError) as caught:
        resolve(instance_typ="x")
    text = str(caught.value)
    assert "system 'ec2' has no option 'instance_typ'; did you mean 'instance_type'?" in text
    assert "keyword" in text
    assert isinstance(caught.value, ValueError)


@dataclass(frozen=True, slots=True)
class ManyOptions(Options):
    idle_timeout: float = option(1.0, help="How long.")
    rpc_timeout: float = option(1.0, help="How long.")
    ssh_key: str = option("", help="Who.", other_names=("key_name", "login"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("timeout", "; did you mean 'rpc_timeout' or 'idle_timeout'? (set as a keyword; `bigm"),
        ("instance", "; did you mean 'instance_type'? (set as a keyword; `bigmachine systems e"),
        ("on_demand", "; did you mean market='on-demand'? (set as a keyword; `bigmachine systems"),
        ("ssh", "; did you mean 'ssh_key'? (set as a keyword; `bigmachine systems ec2` lis"),
        ("budget", " (set as a keyword; options: idle_timeout, rpc_timeout, ssh_key, instance_t"),
        ("services", "; services is given to start()"),
        ("secret_key", "; credentials are not options, which appear in logs and files (set as a"),
        ("keyNames", "; did you mean 'ssh_key'? (set as a keyword; `bigmachine systems ec2` lis"),
    ],
)
def test_unknown_option_names_those_that_are_near_or_else_all(name: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_options(ManyOptions, system_name="ec2", keywords={name: 1})
    assert f"system 'ec2' has no option {name!r}{says}" in str(caught.value)
    assert ("zones" in str(caught.value)) is (name == "budget")


def test_error_names_misspelt_variable(monkeypatch) -> None:
    monkeypatch.setenv("BIGMACHINE_EC2_INSTANCETYPE", "x")
    with pytest.raises(UsageError, match="did you mean 'instance_type'") as caught:
        resolve(instance_type="right")
    assert "variable BIGMACHINE_EC2_INSTANCETYPE" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("[ec2]\ninstance-type = 1", "[ec2]"),
        ("[profiles.big.ec2]\ninstance-type = 1", "[profiles.big.ec2]"),
    ],
)
def test_error_names_file_and_table_of_misspelt_key(
    current_folder: Path, text: str, table: str
) -> None:
    (current_folder / "bigmachine.toml").write_text(text)
    with pytest.raises(UsageError, match="did you mean 'instance_type'") as caught:
        resolve("big" if "big" in text else None)
    assert str(current_folder / "bigmachine.toml") in str(caught.value)
    assert table in str(caught.value)


def test_error_for_unknown_profile_lists_known_profiles(current_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no profile 'big'.*no bigmachine\.toml"):
        resolve("big")
    (current_folder / "bigmachine.toml").write_text("[profiles.small.ec2]\n[profiles.bigger.ec2]")
    with pytest.raises(UsageError) as caught:
        resolve("bigge")
    assert "did you mean 'bigger'?" in str(caught.value)
    assert "small, bigger" in str(caught.value)
    assert str(current_folder) in str(caught.value)


@pytest.mark.parametrize("text", ["[ec2", "ec2 = 3", "profiles = 3", "profiles.big = 3"])
def test_error_names_malformed_file(current_folder: Path, text: str) -> None:
    (current_folder / "bigmachine.toml").write_text(text)
    with pytest.raises(UsageError, match=r"bigmachine\.toml"):
        resolve("big" if "big" in text else None)


def test_error_says_how_to_set_missing_required_option() -> None:
    @dataclass(frozen=True, slots=True)
    class Required:
        size: int = option(1, help="How big.")
        image: str = option(help="The image that machines boot.")

    with pytest.raises(UsageError) as caught:
        resolve_options(Required, system_name="my-cloud")
    assert "'my-cloud' needs the option 'image'" in str(caught.value)
    assert "The image that machines boot." in str(caught.value)
    assert "BIGMACHINE_MY_CLOUD_IMAGE" in str(caught.value)
    assert resolve_options(Required, system_name="my-cloud", keywords={"image": "x"}).size == 1


def test_value_error_from_options_dataclass_becomes_usage_error() -> None:
    @dataclass(frozen=True)
    class Picky:
        size: int = option(1, help="How big.")

        def __post_init__(self) -> None:
            if self.size < 0:
                raise ValueError("size must be positive")

    with pytest.raises(UsageError, match="'picky': size must be positive"):
        resolve_options(Picky, system_name="picky", keywords={"size": -1})


def test_options_that_are_not_a_dataclass_raise_plugin_error() -> None:
    class Plain: ...

    with pytest.raises(PluginError, match="must be a dataclass"):
        resolve_options(Plain, system_name="plain")


# -- values --------------------------------------------------------------------

GOOD_TEXTS = [
    ("instance_type", "c7i.large", "c7i.large"),
    ("count", "12", 12),
    ("price", "0.5", 0.5),
    ("price", "", None),
    ("price", "none", None),
    ("spot", "true", True),
    ("spot", "1", True),
    ("spot", "False", False),
    ("spot", "0", False),
    ("zones", "a, b,c", ("a", "b", "c")),
    ("zones", "", ()),
    ("ports", "1,2", [1, 2]),
    ("market", "on-demand", "on-demand"),
    ("disk", "hdd", Disk.HDD),
    ("key", "/k", Path("/k")),
]


@pytest.mark.parametrize(("name", "text", "value"), GOOD_TEXTS)
def test_text_of_variable_is_converted_to_option_type(
    monkeypatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"BIGMACHINE_EC2_{name.upper()}", text)
    found = getattr(resolve(), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("count", "many", "int"),
        ("count", "", "int"),
        ("price", "cheap", "float or None"),
        ("price", "nan", "float or None"),
        ("price", "1e999", "float or None"),
        ("spot", "maybe", "bool"),
        ("ports", "1,two", "list of int"),
        ("market", "stolen", "'spot' or 'on-demand'"),
        ("disk", "tape", "'ssd' or 'hdd'"),
    ],
)
def test_error_for_invalid_variable_says_what_is_expected(
    monkeypatch, name: str, text: str, expected: str
) -> None:
    monkeypatch.setenv(f"BIGMACHINE_EC2_{name.upper()}", text)
    with pytest.raises(UsageError) as caught:
        resolve()
    assert f"option {name!r} of system 'ec2' takes {expected}, not {text!r}" in str(caught.value)
    assert f"BIGMACHINE_EC2_{name.upper()}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("count", np.int64(4), 4),
        ("price", 2, 2.0),
        ("price", None, None),
        ("zones", ["a", "b"], ("a", "b")),
        ("disk", "hdd", Disk.HDD),
        ("disk", Disk.HDD, Disk.HDD),
        ("key", "/k", Path("/k")),
    ],
)
def test_valid_keyword_value_is_accepted(name: str, given: object, value: object) -> None:
    found = getattr(resolve(**{name: given}), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("count", "4"),
        ("count", True),
        ("count", 4.0),
        ("count", None),
        ("spot", 1),
        ("spot", "true"),
        ("price", "0.5"),
        ("price", float("nan")),
        ("price", -float("inf")),
        ("zones", "a"),
        ("zones", [1]),
        ("instance_type", 5),
        ("market", "stolen"),
        ("disk", "tape"),
    ],
)
def test_keyword_value_of_wrong_type_is_refused(name: str, given: object) -> None:
    with pytest.raises(UsageError, match=f"option '{name}'.*set as a keyword"):
        resolve(**{name: given})


def test_value_of_wrong_type_in_file_is_refused(current_folder: Path) -> None:
    (current_folder / "bigmachine.toml").write_text("ec2.count = '4'")
    with pytest.raises(UsageError, match=r"takes int, not '4' \(set in .*bigmachine\.toml"):
        resolve()


def _toml(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else "{a = 1, b = 2}"


BAD_LISTS = [
    ("zones", {"a": 1, "b": 2}, ("zones=['a=1', 'b=2']", None, 'zones = ["a=1", "b=2"]')),
    ("zones", "a", ("zones=['a']", None, 'zones = ["a"]')),
    ("zones", "a, b", ("zones=['a', 'b']", None, 'zones = ["a", "b"]')),
    ("zones", '["a", "b"]', ("zones=['a', 'b']", "zones=a,b", 'zones = ["a", "b"]')),
    ("zones", "('a',)", ("zones=['a']", "zones=a", 'zones = ["a"]')),
    ("groups", "['a']", (None, "groups=a", None)),
    ("ports", "1,two", ("ports=[1, 2]", "ports=1,2", "ports = [1, 2]")),
    ("count", "4", ("count=4", None, "count = 4")),
    ("spot", "yes", ("spot=True", None, "spot = true")),
    ("spot", "y", ("spot=False", "spot=false", "spot = false")),
]


@pytest.mark.parametrize(("name", "value", "written"), BAD_LISTS)
def test_error_shows_the_value_as_it_is_written_there(
    current_folder: Path, monkeypatch, name: str, value: Any, written: tuple[str | None, ...]
) -> None:
    @dataclass(frozen=True)
    class WithGroups(Options):
        groups: tuple[str, ...] | str = option((), help="Who.")

    def problem(**given: Any) -> str:
        with pytest.raises(UsageError) as caught:
            resolve_options(WithGroups, system_name="ec2", **given)
        return str(caught.value)

    keyword, text, toml = written
    if keyword:
        assert problem(keywords={name: value}).endswith(f" {keyword}")
    if text:
        assert problem(texts={name: value}).endswith(f" -o {text}")
        with monkeypatch.context() as patch:
            patch.setenv(f"BIGMACHINE_EC2_{name.upper()}", value)
            assert problem().endswith(f" BIGMACHINE_EC2_{text.replace(name, name.upper())}")
    if toml:
        (current_folder / "bigmachine.toml").write_text(f"ec2.{name} = {_toml(value)}")
        assert problem().endswith(f" {toml}")


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("market", "spt", "'spot'"),
        ("market", "On_Demand", "'on-demand'"),
        ("disk", "sdd", "'ssd'"),
    ],
)
def test_misspelt_choice_suggests_the_right_one(name: str, value: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"; did you mean {meant}\\?$"):
        resolve_options(Options, system_name="ec2", texts={name: value})


def test_text_with_the_address_of_a_host_in_brackets_is_no_list() -> None:
    texts = {"zones": "[::1]"}
    assert resolve_options(Options, system_name="ec2", texts=texts).zones == ("[::1]",)


# -- description ---------------------------------------------------------------


def test_describe_options_lists_each_option() -> None:
    described = {info.name: info for info in describe_options(Options, system_name="ec2")}
    assert list(described) == [
        *(
            "instance_type",
            "count",
            "price",
            "spot",
            "zones",
            "ports",
            "market",
            "disk",
            "key",
            "depth",
        )
    ]
    assert described["zones"] == OptionInfo(
        name="zones",
        type="list of str",
        default=(),
        required=False,
        help="Where.",
        env="BIGMACHINE_EC2_ZONES",
    )
    assert described["ports"].default == []
    assert described["depth"].type == "int, at most 3"
    assert described["market"].type == "'spot' or 'on-demand'"


@pytest.mark.parametrize("default", [["a"], {"a": 1}, {"a"}])
def test_default_that_could_change_is_refused_with_the_right_declaration(default: object) -> None:
    with pytest.raises(PluginError, match=r"declare a tuple, such as `hosts: tuple\[str, ...\]"):
        option(default, help="The hosts to use.")


def test_options_of_which_no_text_can_be_written_are_found() -> None:
    @dataclass(frozen=True)
    class Odd(Options):
        tags: dict[str, str] = field(default_factory=dict)
        pair: tuple[object, ...] = option((), help="Two things.")

    assert unwritable_options(Options) == []
    assert unwritable_options(Odd) == ["tags", "pair"]
