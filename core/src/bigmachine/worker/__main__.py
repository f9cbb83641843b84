"""``python -m bigmachine.worker``: be a machine."""

from ._main import run

run()
