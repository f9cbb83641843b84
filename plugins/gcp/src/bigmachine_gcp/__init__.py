"""The ``gcp`` system of bigmachine: machines as instances of Google Compute Engine."""

from ._options import GcpOptions as GcpOptions
from ._system import GcpSystem as GcpSystem
