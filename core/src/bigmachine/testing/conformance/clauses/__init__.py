"""The tests of the contract of backends, a file for each of its sections."""
