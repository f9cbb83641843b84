"""``python -m bigmachine.worker``: be a machine."""

import sys

from ._main import run

run(None, *sys.argv[1:])
