"""The sync API has what the async API has, under the same names and signatures."""

from __future__ import annotations

import inspect

import pytest

import bigmachine as bm

# Names that only one of the two APIs has, and why.
ONLY_SYNC = {
    "submit": "async code has nurseries",
}
ONLY_ASYNC = {
    "receive": "the sync stream batches by it",
    "aclose": "called close in the sync API",
}
PAIRS = [
    (bm.AsyncSession, bm.Session),
    (bm.AsyncPeerSession, bm.PeerSession),
    (bm.AsyncMachine, bm.Machine),
    (bm.AsyncStream, bm.Stream),
]


def public(cls):
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize(("async_cls", "sync_cls"), PAIRS)
def test_sync_and_async_api_have_same_names(async_cls, sync_cls):
    only_async = public(async_cls) - public(sync_cls) - set(ONLY_ASYNC)
    only_sync = public(sync_cls) - public(async_cls) - set(ONLY_SYNC) - {"close"}
    assert not only_async
    assert not only_sync


@pytest.mark.parametrize(("async_cls", "sync_cls"), PAIRS)
def test_sync_and_async_api_take_same_arguments(async_cls, sync_cls):
    names = public(async_cls) & public(sync_cls)
    for name in names | ({"__init__"} if sync_cls is bm.Session else set()):
        ours, theirs = (inspect.getattr_static(cls, name) for cls in (async_cls, sync_cls))
        assert isinstance(ours, property) == isinstance(theirs, property), name
        if async_cls is not bm.AsyncStream and inspect.isfunction(ours):
            parameters = [list(inspect.signature(f).parameters.values()) for f in (ours, theirs)]
            assert parameters[0] == parameters[1], name


@pytest.mark.parametrize("cls", [cls for pair in PAIRS for cls in pair])
def test_every_public_name_has_docstring(cls):
    for name in public(cls):
        assert inspect.getdoc(inspect.getattr_static(cls, name)), name
