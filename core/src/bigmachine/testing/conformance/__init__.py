"""The conformance kit: it proves that a backend keeps ``docs/backend-contract.md``.

A backend's author writes one fixture::

    import pytest
    from bigmachine.testing.conformance import Suite

    class TestMySystem(Suite):
        @pytest.fixture
        def system(self):
            return MySystem()

or runs ``bigmachine conformance NAME -o key=value``. Both need pytest, which
``pip install "bigmachine[testing]"`` adds.

Each test cites a clause of the contract (`_clauses`). The tests are in ``clauses/``, by
sections of the contract, or by the kind of fault if it concerns several; all of them use
`_kit`. `_plugin` and `_report` are what pytest runs and prints. `_guardian` cleans up after
the kit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._suite import Suite as Suite

__all__ = ["Suite"]


def __getattr__(name: str) -> Any:
    # Late: pytest loads the kit's plugin from this package in every run of anybody's tests,
    # and only suites should pay for the rest.
    if name == "Suite":
        try:
            from ._suite import Suite
        except ModuleNotFoundError as exc:
            if exc.name != "pytest":
                raise
            from bigmachine.system._installation import install_command

            raise ModuleNotFoundError(
                f"the conformance kit needs pytest: {install_command('testing')}", name="pytest"
            ) from None
        return Suite
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
