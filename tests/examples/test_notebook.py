"""The notebook runs in a kernel of this environment, and its cells print the right outputs."""

from __future__ import annotations

import pytest

from bigmachine.session._idle import is_interactive
from tests.support.paths import ROOT

NOTEBOOK = ROOT / "examples/notebook.ipynb"
IS_INTERACTIVE = "from bigmachine.session._idle import is_interactive\nis_interactive()"

PROGRESS = """\
from bigmachine.progress import _display
%env BIGMACHINE_PROGRESS=on
_display.SHOWN_AFTER = 0
with bm.Session("local") as another:
    another.start(2, services={"Dice": Dice(6)})
"""

TALKER = """\
class Talker:
    def say(self, text):
        import logging
        print("printed", text)
        logging.getLogger("talker").warning("logged %s", text)

talking = bm.Session("local")
[talker] = talking.start(1, services={"Talker": Talker()})
"""
SAY = "talker.call('Talker.say', '{0}')"


CELLS = [
    IS_INTERACTIVE,
    PROGRESS,
    TALKER,
    SAY.format("here"),
    SAY.format("there"),
    "talking.shutdown()",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> dict[str, str]:
    """Run the notebook; return what each code cell printed, by its first line."""
    import warnings

    nbclient = pytest.importorskip("nbclient")  # late, for each process imports this module
    nbformat = pytest.importorskip("nbformat")
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # Jupyter's own warnings are no errors here
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        notebook.cells += map(nbformat.v4.new_code_cell, CELLS)
        folder = str(tmp_path_factory.mktemp("notebook"))
        client = nbclient.NotebookClient(
            notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    return {
        cell.source.splitlines()[0]: "".join(text_of(output) for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def text_of(output) -> str:
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return output.get("text") or output.data["text/plain"]


def test_notebook_is_stored_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")


def test_class_defined_in_cell_is_started_as_service(outputs):
    assert outputs["import random"].count("RUNNING") == 3
    assert 10 <= int(outputs['machines[0].call("Dice.throw", 10)']) <= 60


def test_calls_run_on_all_machines_at_once(outputs):
    mean = outputs['futures = [machine.submit("Dice.throw", 100_000) for machine in machines]']
    assert float(mean) == pytest.approx(3.5, abs=0.05)


def test_items_stream_back(outputs):
    throws = eval(outputs['throws = list(machines[1].stream("Dice.throws", 20))'])
    assert len(throws) == 20
    assert set(throws) <= {1, 2, 3, 4, 5, 6}


def test_error_shows_traceback_of_machine(outputs):
    shown = outputs['machines[0].call("Dice.lose")']
    assert "Traceback on the machine" in shown
    assert "in lose" in shown
    assert "no dice on the table" in shown.splitlines()[-1]


def test_session_is_usable_after_interrupted_call(outputs):
    assert "KeyboardInterrupt" in outputs["import signal"]
    shown = outputs["print(session.machines)"]  # and warnings, on a busy computer
    assert shown.count("RUNNING") == 3
    assert "True" in shown.splitlines()


def test_shutdown_frees_machines(outputs):
    assert outputs["session.shutdown()"].count("STOPPED") == 3


def test_kernel_is_known_to_be_interactive_and_this_program_is_not(outputs):
    assert outputs[IS_INTERACTIVE.splitlines()[0]] == "True"
    assert not is_interactive()


def test_cell_shows_what_came_of_a_start_in_place_of_its_progress(outputs):
    shown = outputs[PROGRESS.splitlines()[0]].splitlines()
    assert [line.partition(" after ")[0] for line in shown] == [
        "env: BIGMACHINE_PROGRESS=on",
        "2 machines are running on local",
    ]


def test_output_of_machine_is_shown_in_the_cell_that_called(outputs):
    for place in ("here", "there"):
        shown = outputs[SAY.format(place).splitlines()[0]]
        for line in (f"m0: printed {place}", f"m0: logged {place}"):
            assert line in shown.splitlines()
