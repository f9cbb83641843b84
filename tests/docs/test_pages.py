"""Links in the documentation resolve, and each hook, option and limit is documented."""

from __future__ import annotations

import inspect
import re

import pytest

from bigmachine.system import System
from bigmachine.system._entrypoints import EXTRAS
from bigmachine.system._hooks import HOOKS
from bigmachine.system._options import describe_options
from bigmachine_azure import AzureOptions
from bigmachine_ec2 import Ec2Options
from bigmachine_gcp import GcpOptions
from bigmachine_local import LocalOptions
from tests.docs.markdown import PAGES, ROOT, anchors, links, page_id, section, snippets

BACKENDS = ROOT / "docs/backends.md"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_between_pages_resolve(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} does not exist"
        assert target.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(target), f"{link}: there is no such heading"


def test_package_readmes_have_no_relative_links():
    for page in (ROOT / "core/README.md", *ROOT.glob("plugins/*/README.md")):
        assert [link for link in links(page) if not link.startswith("https:")] == []


def test_each_page_is_linked_from_index():
    linked = set(links(ROOT / "docs/index.md"))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"} <= linked


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_is_documented_with_its_arguments(hook):
    function = HOOKS[hook]
    arguments = ", ".join(list(inspect.signature(function).parameters)[1:])
    is_async = "async " if inspect.iscoroutinefunction(function) else ""
    assert section(BACKENDS, f"`{is_async}{hook}({arguments})`").strip()


def test_each_documented_hook_exists():
    headings = re.findall(r"^### `(?:async )?(\w+)\(", BACKENDS.read_text(), re.M)
    assert set(headings) == set(HOOKS)


@pytest.mark.parametrize("extra", EXTRAS)
def test_readme_of_system_installs_it_before_and_after_the_first_release(extra):
    readme = (ROOT / f"plugins/{extra}/README.md").read_text()
    for command in (
        f'pip install "bigmachine[{extra}]"',
        f"pip install -e core -e plugins/{extra}",
    ):
        assert f"`{command}`" in readme


def test_documented_defaults_of_class_attributes_are_those_of_the_class():
    table = section(BACKENDS, "Class attributes")
    documented = dict(re.findall(r"^\| `(\w+)` \| .*by default (\w+)[ ;]", table, re.M))
    numbers = {n: value for n, value in vars(System).items() if isinstance(value, int | float)}
    assert documented == {name: str(value).removesuffix(".0") for name, value in numbers.items()}


@pytest.mark.parametrize(
    ("system", "cls"),
    [("local", LocalOptions), ("ec2", Ec2Options), ("gcp", GcpOptions), ("azure", AzureOptions)],
)
def test_readme_of_system_lists_its_options(system, cls):
    readme = (ROOT / f"plugins/{system}/README.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \| (.*?) \|", readme, re.M)
    options = describe_options(cls, system_name=system)
    assert [name for name, _ in documented] == [option.name for option in options]
    for option, (_, default) in zip(options, documented, strict=True):
        assert default.strip("`").strip('"') == str(option.default)


@pytest.mark.parametrize("page", ["azure.md", "ec2.md", "gcp.md"])
def test_guide_of_a_cloud_installs_the_systems_that_its_programs_use(page):
    text = (ROOT / "docs" / page).read_text()
    [command] = re.findall(r"^\$ pip install (\./core.*?)  #", text, re.M)
    assert 'main("local")' in text
    assert command.split() == ["./core", "./plugins/local", f"./plugins/{page.removesuffix('.md')}"]


def test_documented_kinds_of_frames_match_wire_protocol():
    from bigmachine.rpc import _frames

    kinds = dict(
        re.findall(r"^\| (\d+) \| (\w+) \|", section(ROOT / "docs/wire.md", "Frames"), re.M)
    )
    assert {int(number): name for number, name in kinds.items()} == _frames.KINDS


def test_each_of_the_two_first_commands_is_all_that_a_fresh_machine_needs() -> None:
    [commands] = [s.text for s in snippets(ROOT / "README.md") if "pip install uv" in s.text]
    begin = "$ pip install uv && "
    run_by_ci = (ROOT / ".ci/run").read_text()
    for command in commands.splitlines():
        assert command.startswith(begin)
        assert f" {command.removeprefix(begin)}" in run_by_ci
    assert len(commands.splitlines()) == 2
