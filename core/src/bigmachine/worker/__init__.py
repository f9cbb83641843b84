"""The machine's own program: ``python -m bigmachine.worker``, or `main` where one has a process."""

from ._main import main as main
from ._main import preload as preload
from ._main import prepare as prepare
from ._main import set_up as set_up
