"""bigmachine on network namespaces: machines as hosts of a network on this computer."""

from ._system import NetnsOptions as NetnsOptions
from ._system import NetnsSystem as NetnsSystem
