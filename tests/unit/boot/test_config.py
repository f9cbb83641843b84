"""The configurations of the workers of one request."""

from __future__ import annotations

import sys

import pytest

from bigmachine._identity import Authority
from bigmachine.boot import LaunchRequest, WorkerConfig
from bigmachine.boot._config import Configurator
from bigmachine.system import Keepalive
from bigmachine.testing import InProcessSystem


def test_each_worker_is_given_its_own_identity_and_no_other_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    authority = Authority("s.bigmachine")
    identities = [authority.issue(f"m{number}") for number in range(2)]
    configure = Configurator(system=InProcessSystem(), maxprocs=3)
    request = LaunchRequest(
        authority=authority,
        names=iter(()),
        keepalive=Keepalive(),
        argv=["program"],
        environ={"A": "b"},
        configure=configure,
    )
    configs = [configure(identity, request, is_remote=False) for identity in identities]
    for identity, other, config in zip(identities, identities[::-1], configs, strict=True):
        loaded = WorkerConfig.load(config)
        assert loaded.identity == identity
        assert (loaded.argv, loaded.environ, loaded.maxprocs) == (("program",), {"A": "b"}, 3)
        assert identity.key in config
        assert other.key not in config
