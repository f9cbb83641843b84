"""The ``azure`` system of bigmachine: machines as Azure virtual machines."""

from ._system import AzureSystem as AzureSystem
from .options._options import AzureOptions as AzureOptions
