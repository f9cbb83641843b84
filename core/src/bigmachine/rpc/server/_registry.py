"""The service objects of one machine, and the look-up of their methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from ..._spelling import did_you_mean
from ...errors import UsageError
from ...metrics._calls import MethodCalls
from ...services._decorators import is_concurrent, is_exclusive, runs_in_processes
from ...services._names import check_service_name, has_method, method_names
from .._pickled_service import PickledService
from ._gate import Gate
from ._processes import ProcessPool

if TYPE_CHECKING:
    from ...profiling import Profile
    from ...profiling._request import ProfileRequest


class Method(NamedTuple):
    """A bound service method.

    An async one runs in the loop, all others in threads or in ``processes``; exclusive ones one
    at a time, inside a gate. ``calls`` counts its calls.
    """

    name: str
    function: Callable[..., Any]
    is_async: bool
    calls: MethodCalls
    is_concurrent: bool = False
    exclusive: Gate | None = None
    processes: ProcessPool | None = None
    is_of_supervisor: bool = False

    @property
    def takes_async(self) -> bool:
        """Whether its stream arguments are async: a decorator may hide an ``async def``."""
        return self.is_async or _is_async(inspect.unwrap(self.function))


class Services:
    """Service objects by name: ``"Service.method"`` finds any public method of any object.

    ``"Service"`` alone finds an object that can be called itself, such as a function.
    """

    def __init__(self) -> None:
        self._objects: dict[str, object] = {}
        self._methods: dict[str, Method] = {}
        self._pools: dict[str, ProcessPool] = {}
        self._gates: dict[str, Gate] = {}  # of the exclusive methods of each service
        self._calls: dict[str, MethodCalls] = {}  # by method, also of services that are removed

    def add(self, name: str, service: object, *, pickled: PickledService | None = None) -> None:
        """Install ``service``; `UsageError` if the name is taken.

        The processes of its parallel methods make their copies from ``pickled``; without
        it, these methods run in threads.
        """
        check_service_name(name)
        if name in self._objects:
            raise UsageError(f"a service named {name!r} is installed already")
        self._objects[name] = service
        if pickled is not None:
            self._pools[name] = ProcessPool(pickled)

    def remove(self, name: str) -> None:
        """Remove a service, for instance if its ``setup`` failed."""
        del self._objects[name]
        for method in [m for m in tuple(self._methods) if m.partition(".")[0] == name]:
            del self._methods[method]
        if name in self._pools:
            self._pools.pop(name).close()

    async def end_processes(self, timeout: float) -> None:
        """Let the processes of parallel methods run their exit handlers, for so long at most."""
        async with trio.open_nursery() as nursery:
            for pool in self._pools.values():
                nursery.start_soon(trio.to_thread.run_sync, pool.end, timeout)

    async def profile_processes(self, request: ProfileRequest) -> list[Profile]:
        """Have all processes of parallel methods do what is requested, at the same time."""
        found: list[Profile] = []

        async def ask(pool: ProcessPool) -> None:
            found.extend(await pool.profile(request))

        async with trio.open_nursery() as nursery:
            for pool in self._pools.values():
                nursery.start_soon(ask, pool)
        return found

    def clear(self) -> None:
        """Forget all services but the supervisor."""
        for name in [name for name in self._objects if name != "Supervisor"]:
            self.remove(name)

    def close(self) -> None:
        """End the processes of all services."""
        for pool in self._pools.values():
            pool.close()

    @property
    def calls(self) -> list[MethodCalls]:
        """The calls so far, by method, without the supervisor's."""
        calls = tuple(self._calls.values())  # all at once: threads of lanes add some at any moment
        return [each for each in calls if not each.name.startswith("Supervisor.")]

    @property
    def process_ids(self) -> list[int]:
        """The live processes of parallel methods."""
        return [pid for pool in self._pools.values() for pid in pool.process_ids]

    def find(self, name: str) -> Method:
        """Return the method called ``"Service.method"``; `UsageError` lists what there is."""
        method = self._methods.get(name)
        if method is None:
            method = self._methods[name] = self._find(name)
        return method

    def _find(self, name: str) -> Method:
        service_name, dot, method_name = name.partition(".")
        service = self._objects.get(service_name)
        if service is None:
            services = {n: s for n, s in tuple(self._objects.items()) if n != "Supervisor"}
            hint = _hint(service_name, [*services])
            with_it = [n for n, s in services.items() if not dot and has_method(s, service_name)]
            if with_it:
                hint = f"; call the method as {f'{with_it[0]}.{service_name}'!r}"
            raise UsageError(f"no service {service_name!r} here{hint}")
        if dot and has_method(service, method_name):
            function = getattr(service, method_name)
        elif not dot and callable(service):
            function = service
        else:
            what = f"has no method {method_name!r}" if dot else "can't be called itself"
            hint = _hint(method_name, names := method_names(service))
            if callable(service):
                hint = f"; call {service_name!r} itself" + (hint if names else "")
            raise UsageError(f"service {service_name!r} {what}{hint}")
        return Method(
            name,
            function,
            is_async=_is_async(function),
            calls=self._calls.setdefault(name, MethodCalls(name)),
            is_concurrent=is_concurrent(function),
            exclusive=self._gates.setdefault(service_name, Gate(1))
            if is_exclusive(function)
            else None,
            processes=self._pools.get(service_name) if runs_in_processes(function) else None,
            is_of_supervisor=service_name == "Supervisor",
        )


def _is_async(function: Any) -> bool:
    """Whether calling ``function`` returns at once something for the loop."""
    return any(
        inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one)
        for one in (function, type(function).__call__)  # an object's own
    )


def _hint(wanted: str, names: list[str]) -> str:
    if not names:
        return "; there are none"
    all_names = ", ".join(sorted(names))
    guess = did_you_mean(wanted, names)
    return f"{guess} There are: {all_names}" if guess else f"; there are: {all_names}"
