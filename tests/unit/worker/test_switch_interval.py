"""How long a thread of a machine that computes keeps the interpreter, if others wait for it."""

from __future__ import annotations

import sys

from bigmachine.worker._main import switch_interval


def test_interval_is_short_and_grows_with_the_number_of_methods_that_may_compute() -> None:
    python = sys.getswitchinterval()
    few, several, many, most = map(switch_interval, (1, 16, 64, 1000))
    assert few == switch_interval(6) == python / 25
    assert few < several < many < most == python
    # All threads that wait wake up together, so often in a second.
    assert all(n / switch_interval(n) < 35_000 for n in (1, 6, 16, 64, 128))
