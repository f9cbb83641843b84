"""Delays between attempts grow with jitter and end; those between polls never end."""

from __future__ import annotations

from bigmachine.cloud import backoff, poll_intervals


def test_backoff_grows_with_jitter_and_ends():
    most = [0.0] * 9
    for _ in range(300):
        tried = [*backoff(10)]
        assert len(tried) == 9
        most = [max(pair) for pair in zip(most, tried, strict=True)]
    assert most == sorted(most[:6]) + most[6:]
    assert max(most) <= 20.0
    assert most[0] <= 0.5


def test_poll_intervals_grow_and_never_end():
    first = [pause for pause, _ in zip(poll_intervals(), range(20), strict=False)]
    assert first == sorted(first)
    assert first[-1] == 5.0
