"""The ``local`` system of bigmachine: machines as processes on this computer."""

from ._options import LocalOptions as LocalOptions
from ._system import LocalSystem as LocalSystem
