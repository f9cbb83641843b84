"""The tests of the backend contract, grouped by its sections."""
