"""The ``gcp`` system of bigmachine: machines as instances of Google Compute Engine."""

from ._system import GcpSystem as GcpSystem
from .options._options import GcpOptions as GcpOptions
