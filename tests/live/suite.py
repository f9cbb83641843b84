"""The conformance kit on a real account; only ``python -m tests.live`` runs it.

pytest does not collect the clouds' modules; if one is given by name, all its tests are skipped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from bigmachine.cloud import CloudSystem
from bigmachine.testing.conformance import Suite
from tests.live.account import Account


class LiveSuite(Suite):
    """The conformance kit on a real `Account`: a cloud's subclass adds bad options."""

    account: ClassVar[Account[Any] | None] = None
    """The account to test on; only the script sets it."""
    timeout = 180.0  # a cloud takes a minute or more to terminate an instance
    payload_bytes = 4 << 20  # the connection may be slow
    pytestmark = pytest.mark.timeout(1800)

    @pytest.fixture
    def system(self) -> CloudSystem:
        if self.account is None:
            pytest.skip("a real account: `python -m tests.live SYSTEM` asks for it")
        return self.account.system_class(self.account.options)

    def leftovers(self) -> Iterator[str]:
        assert self.account is not None
        yield from (id for id, one in self.account.resources().items() if one.is_failure)

    @contextlib.contextmanager
    def foreign_resource(self) -> Iterator[Any]:
        account = self.account
        assert account is not None
        id = account.make_foreign()
        if id is None:
            yield None
            return
        try:
            yield lambda: account.has(id)
        finally:
            account.free_foreign(id)
