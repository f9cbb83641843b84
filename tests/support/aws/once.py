"""What botocore and moto do again for each session and request, done once in this process.

It changes nothing that they do. A test costs 0.2 s of CPU less for the models of AWS's services,
which each boto3 session reads for itself, and 0.2 s for the rest.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import moto.backends
import moto.core.responses
import pytest
from botocore.credentials import Credentials


@contextlib.contextmanager
def everything_once() -> Iterator[None]:
    """Share models and clients between sessions, and moto's tables between requests."""
    loader = botocore.loaders.create_loader()
    modules = [*moto.backends.list_of_moto_modules()]
    names = functools.cache(moto.core.responses.method_names_from_class)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lambda path: loader)
        of_session = botocore.session.Session
        register = _registered(of_session._register_builtin_handlers)
        patch.setattr(of_session, "_register_builtin_handlers", register)
        patch.setattr(boto3.Session, "client", _shared(boto3.Session.client))
        patch.setattr(moto.backends, "list_of_moto_modules", lambda: modules)
        patch.setattr(moto.core.responses, "method_names_from_class", names)
        yield


def _registered(register: Any) -> Any:
    """Register botocore's own handlers of events once, and copy them to each session."""
    known: list[Any] = []

    def register_builtin_handlers(session: Any, events: Any) -> None:
        if not known:
            register(session, events)
            known.append(copy.copy(session._original_handler))
        session._original_handler = events._emitter = copy.copy(known[0])

    return register_builtin_handlers


def _shared(make: Any) -> Any:
    """Make one client for all sessions that would make the same: closed, it opens again."""
    clients: dict[Any, Any] = {}

    def client(session: Any, service: str, *, config: Any = None, **options: Any) -> Any:
        found = session.get_credentials()
        if type(found) is not Credentials:  # they may change, or there are none
            return make(session, service, config=config, **options)
        settings = [item for item in os.environ.items() if "AWS" in item[0] or "PROXY" in item[0]]
        key = (
            *(service, session.region_name, found.get_frozen_credentials(), *sorted(settings)),
            *(repr(sorted(options.items())), repr(config and config._user_provided_options)),
        )
        if key not in clients:
            clients[key] = make(session, service, config=config, **options)
        return clients[key]

    return client
