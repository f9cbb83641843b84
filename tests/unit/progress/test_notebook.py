"""What a notebook shows of a start, as HTML; `tests/examples/test_notebook.py` runs a kernel."""

from __future__ import annotations

import bigmachine as bm
from bigmachine.progress._notebook import in_notebook, start_html
from bigmachine.progress._start import Start
from tests.support.html import Cells


def failed_start() -> Start:
    start = Start(3, system="ec2", boots=True)
    start.requested_now()
    start.launched(
        bm.Instance(f"m{i}.ada.bigmachine", "10.0.0.1:1", cost_per_hour=0.1) for i in range(3)
    )
    start.changed(bm.BootProgress("m0", "upload", 1 << 20, 4 << 20, 1.0))
    error = bm.BootError("no <img src=x> here")
    start.changed(bm.MachineChanged("m1", "addr", bm.State.STOPPED, error))
    return start


def test_start_is_a_table_of_phases_with_bars_and_texts_escaped():
    html = start_html(failed_start(), is_over=False)
    assert "<b>Starting 3 machines on ec2</b>" in html
    assert " s, $0.20 an hour</span>" in html
    assert '<progress value="0.250"' in html
    page = Cells(html)
    assert "img" not in page.tags
    assert [[cell.strip("●\N{NO-BREAK SPACE}") for cell in row] for row in page.rows] == [
        ["booting", "1", "", ""],
        ["uploading", "1", "", "1.0 MiB of 4.0 MiB"],
        ["failed", "1", "", ""],
    ]
    assert "no &lt;img src=x&gt; here" in html


def test_start_that_is_over_tells_what_came_of_it():
    start = failed_start()
    assert "Launched 3 machines on ec2" in start_html(start, is_over=True)
    start.end(has_failed=True)
    assert "Failed to start 3 machines on ec2" in start_html(start, is_over=True)
    start.end(has_failed=False)
    for machine in ("m0", "m2"):
        start.changed(bm.MachineChanged(machine, "addr", bm.State.RUNNING))
    result = start_html(start, is_over=True)
    assert "2 of 3 machines are running on ec2 after " in result
    assert "table" not in Cells(result).tags


def test_this_program_is_no_notebook():
    assert not in_notebook()
