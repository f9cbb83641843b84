"""The version of the distribution: written here only."""

__version__ = "0.1.0"
