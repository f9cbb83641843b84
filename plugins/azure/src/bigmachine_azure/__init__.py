"""The ``azure`` system of bigmachine: machines as Azure virtual machines."""

from ._options import AzureOptions as AzureOptions
from ._system import AzureSystem as AzureSystem
