"""The flame graph page: what is in it, and that nothing in a profile can become a program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from bigmachine.profiling import Frame, Profile, Sample, ValueType

EVIL = Frame("</script><script>alert(1)</script>{{data}}", "<b>.py", 3, 2)
MAIN = Frame("main", "/work/π.py", 20, 18)
WORK = Frame("work", "/work/π.py", 9, 7)
PROFILE = Profile(
    value_types=(ValueType("wall", "nanoseconds"), ValueType("cpu", "nanoseconds")),
    samples=(
        Sample((WORK, MAIN), (9_000_000_000, 3_000_000_000), (("machine", "m0"),)),
        Sample((WORK, MAIN), (9_000_000_000, 1_000_000_000), (("machine", "m1"),)),
        Sample((EVIL, WORK, MAIN), (1_000_000_000, 1_000_000_000), (("machine", "m1"),)),
    ),
    started_at=0,
    seconds=10,
    period=0.01,
    failures={"m2": "</p><img src=x> stopped"},
)


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "action")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.lasttag == "script":
            self.scripts[-1] += data


def test_page_loads_nothing_from_elsewhere():
    page = PROFILE.flame_graph()
    assert Page(page).links == []
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|@import|url\(", page)


def test_page_has_the_stacks_of_each_machine():
    data = json.loads(Page(PROFILE.flame_graph()).scripts[0])
    assert data["machines"] == ["m0", "m1"]
    main, work = (
        data["functions"].index([frame.function, frame.file, frame.first_line])
        for frame in (MAIN, WORK)
    )
    assert data["stacks"][0] == [0, [main, work], [9_000_000_000, 3_000_000_000]]
    assert [values[1] for _, _, values in data["stacks"]] == [
        sample.values[1] for sample in PROFILE.samples
    ]


def test_names_in_a_profile_can_not_become_elements():
    page = Page(PROFILE.flame_graph(title="<script>alert(2)</script>"))
    assert len(page.scripts) == 2
    assert "img" not in page.tags
    data = json.loads(page.scripts[0])
    assert data["functions"][-1][0] == EVIL.function
    assert data["notes"] == ["not in it: m2: </p><img src=x> stopped"]


def test_saved_page_is_chosen_by_the_name_of_the_file(tmp_path):
    page = PROFILE.save(tmp_path / "flame.html").read_bytes()
    assert page.decode() == PROFILE.flame_graph()
    assert PROFILE.save(tmp_path / "profile.pb.gz").read_bytes() == PROFILE.to_pprof()


def test_profile_of_many_machines_has_a_short_title():
    many = Profile.merge(PROFILE.labelled(machine=f"m{n}") for n in range(500))
    assert "<title>Profile: cpu of 500 machines</title>" in many.flame_graph()
    assert "<title>Profile: cpu of m0, m1</title>" in PROFILE.flame_graph()


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_page_draws_zooms_searches_and_shows_one_machine_in_a_browser(tmp_path):
    script = """<script>
const shown = () => [...document.querySelectorAll(".node")].map(n => n.getAttribute("aria-label"));
const said = {all: shown(), sum: $(".sum").textContent};
said.rows = document.querySelectorAll("tbody tr").length;
search.value = "WORK"; search.oninput();
said.found = info.textContent;
said.marked = document.querySelectorAll(".found").length;
search.value = "";
document.querySelectorAll(".node")[2].click();
said.zoomed = document.querySelectorAll(".node.above").length;
document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape", bubbles: true}));
said.back = document.querySelectorAll(".node.above").length;
machine.value = "0"; machine.onchange();
said.one = shown();
document.title = JSON.stringify(said);
</script>"""
    path = tmp_path / "page.html"
    path.write_text(PROFILE.flame_graph().replace("</body>", script + "</body>"))
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
        f"--user-data-dir={tmp_path / 'profile'}",
        path.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=100).stdout
    found = re.search(r"<title>(.*?)</title>", dom, re.S)
    assert found, dom
    said = json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert said["sum"] == "cpu: 5.00 s in 10.0 s on 2 machines"
    assert said["all"][:3] == [f"{name}, 5.00 s, 100.0 %" for name in ("all", "main", "work")]
    assert said["all"][3].endswith(", 1.00 s, 20.0 %")
    assert said["rows"] == 2
    assert said["found"] == "“WORK”: 5.00 s, 100.0 %"
    assert (said["marked"], said["zoomed"], said["back"]) == (2, 2, 0)
    assert said["one"] == [f"{name}, 3.00 s, 100.0 %" for name in ("all", "main", "work")]
