"""The ``local`` system of bigmachine: machines as processes on this computer."""

from ._system import LocalOptions as LocalOptions
from ._system import LocalSystem as LocalSystem
