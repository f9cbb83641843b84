"""The debugger asks in the cell of a notebook, in a real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

jupyter_client = pytest.importorskip("jupyter_client")

SET_UP = """\
import os
os.environ["BIGMACHINE_POST_MORTEM"] = "1"
import bigmachine as bm

class Shop:
    def share(self, n):
        breakpoint()
        return 1 / n

session = bm.Session("local")
[machine] = session.start(1, services={"Shop": Shop()})
"""


class Notebook:
    def __init__(self, client) -> None:
        self._client = client

    def run(self, code: str, *answers: str, allow_stdin: bool = True) -> str:
        """Run a cell, and give these answers to what it asks; return what it shows."""
        shown: list[str] = []
        left = list(answers)

        def answer(message) -> None:
            assert message["content"]["prompt"] == "(Pdb m0) "
            self._client.input(left.pop(0))

        def show(message) -> None:
            content = message["content"]
            shown.append(content.get("text") or content.get("data", {}).get("text/plain", ""))
            shown.extend(content.get("traceback", []))

        self._client.execute_interactive(
            code, timeout=60, stdin_hook=answer, output_hook=show, allow_stdin=allow_stdin
        )
        assert not left, shown
        return "".join(shown)


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    with jupyter_client.run_kernel(kernel_name="python3") as client:
        yield Notebook(client)


@pytest.mark.long
def test_cell_that_waits_for_a_stopped_call_is_asked(notebook):
    notebook.run(SET_UP)
    shown = notebook.run('machine.call("Shop.share", 4)', "p n", "c")
    assert "\n-> " in shown  # the source of the cell
    assert shown.endswith("0.25")

    # Nobody waits, so nothing asks, and the kernel takes the next cell.
    notebook.run('future = machine.submit("Shop.share", 0)')
    assert "ZeroDivisionError" in notebook.run("future.result()", "c")
    assert "return 1 / n" in notebook.run("bm.post_mortem()", "p n", "q")

    # Run by a program, such as nbconvert, a notebook has nobody to ask.
    shown = notebook.run('machine.call("Shop.share", 5)', allow_stdin=False)
    assert "does not support input requests" in shown
    assert shown.endswith("0.2")
