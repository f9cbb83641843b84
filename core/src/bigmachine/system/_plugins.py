"""The plugins of one session: its system, its observers and its wrappers.

Only this module uses pluggy's hook relay. Each session has its own, so sessions on
different systems can exist at the same time.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import pluggy

from .._events import CallEnded, CallStarted, Event
from ..errors import PluginError
from ._hooks import HOOKS, OBSERVED, is_async, label, overrides
from ._plugin_checks import check_hooks, check_system_class, signature_mismatch
from ._system import System

_logger = logging.getLogger("bigmachine.plugins")


class Plugins:
    """The hooks of a session's system, with all observers and wrappers around them.

    ``observers`` were given by the user, so a faulty one raises `PluginError`, like a faulty
    ``system``. ``installed`` ones, by label (see `load_observers`), were not: a faulty one
    is logged and skipped. The last observer is the outermost wrapper.
    """

    def __init__(
        self,
        system: System,
        *,
        observers: Iterable[object] = (),
        installed: Mapping[str, object] | None = None,
    ) -> None:
        self.system = system
        self._manager = _Manager(system)
        self._register(system)
        for name, plugin in (installed or {}).items():
            try:
                self._register(plugin)
            except PluginError:
                _logger.warning("skipping observer %s", name, exc_info=True)
        for plugin in observers:
            self._register(plugin)
        self._find_observers()

    @property
    def hooks(self) -> System:
        """The system's hooks, to be called by keyword, with all wrappers.

        The cast is correct: each hook is ``firstresult`` and has exactly one implementation
        (an observer may only wrap it), so a call returns what the system's method returns,
        with the same signature. The exception is `event`, see `notify`.
        """
        return cast(System, self._manager.hook)

    def notify(self, event: Event) -> None:
        """Send ``event`` to every plugin; an observer that raises is logged and removed.

        Its wrappers are removed, too. If the system raises, this is logged but the system is
        kept: the session needs it to free its machines.
        """
        self._tell("event", event=event)

    def call_started(self, call: CallStarted) -> dict[str, str]:
        """Tell the observers of calls; return what is to be sent along with the call.

        In any thread. Only if `observes_calls`; else it is a waste of time.
        """
        headers: dict[str, str] = {}

        def take(answer: Mapping[str, str] | None) -> None:
            headers.update({str(name): str(value) for name, value in (answer or {}).items()})

        self._tell("call_started", take=take, call=call)
        return headers

    def call_ended(self, call: CallEnded) -> None:
        """Tell the observers of calls."""
        self._tell("call_ended", call=call)

    def take_spans(self, machine: str, spans: Sequence[Mapping[str, Any]]) -> None:
        """Give the spans of a machine to those that take them."""
        self._tell("spans", machine=machine, spans=spans)

    def _find_observers(self) -> None:
        """Find out who observes what; most systems and observers have only some of the hooks."""
        self._observers = {
            name: [
                implementation
                # Last registered first, as in pluggy.
                for implementation in reversed(getattr(self._manager.hook, name).get_hookimpls())
                if implementation.plugin is not self.system or overrides(self.system, name)
            ]
            for name in OBSERVED
        }
        self.observes_calls = bool(self._observers["call_started"] + self._observers["call_ended"])
        self.takes_spans = bool(self._observers["spans"])

    def _tell(
        self, hook: str, *, take: Callable[[Any], object] = lambda answer: None, **arguments: Any
    ) -> None:
        # One by one: the relay would stop at the first that raises.
        for implementation in self._observers[hook]:
            plugin = implementation.plugin
            try:
                take(implementation.function(*map(arguments.__getitem__, implementation.argnames)))
            except Exception:
                what = next(iter(arguments.values()))
                if plugin is self.system:
                    _logger.exception("%s raised an exception at %r", label(plugin), what)
                else:
                    _logger.exception(
                        "%s raised an exception at %r; it is removed", label(plugin), what
                    )
                    with contextlib.suppress(ValueError, AssertionError):  # by another thread
                        self._manager.unregister(plugin)
                    self._find_observers()

    def _register(self, plugin: object) -> None:
        is_system = plugin is self.system
        if is_system:
            check_system_class(self.system)
        elif inspect.isclass(plugin):
            raise PluginError(f"{label(plugin)} is a class; pass an instance of it")
        implementations = self._manager.implementations(plugin)
        check_hooks(plugin, implementations, is_system=is_system)
        try:
            self._manager.register(plugin)
        except pluggy.PluginValidationError as exc:
            mismatch = signature_mismatch(plugin, implementations)
            raise PluginError(f"{label(plugin)}: {mismatch}") from exc
        except ValueError as exc:
            raise PluginError(f"{label(plugin)} is registered twice in one session") from exc


def check_system(system: type[System]) -> None:
    """Raise the `PluginError` that a session with this ``system`` would; needs no options."""
    Plugins(system.__new__(system))


class _Manager(pluggy.PluginManager):
    """A plugin manager that needs no marks on the hooks of the session's system."""

    def __init__(self, system: System) -> None:
        super().__init__("bigmachine")
        self._system = system
        self.add_hookspecs(System)
        self.add_hookcall_monitoring(lambda *_: None, _check_awaitable)

    def implementations(self, plugin: object) -> dict[str, pluggy.HookimplOpts]:
        """Return the options of the plugin's methods that implement or wrap a hook, by name."""
        found = {name: self.parse_hookimpl_opts(plugin, name) for name in dir(plugin)}
        return {name: options for name, options in found.items() if options is not None}

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        if isinstance(inspect.getattr_static(plugin, name, None), property):
            return None  # some pluggy versions would read its value, which runs the plugin's code
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and name in HOOKS and self._is_implemented(plugin, name):
            return pluggy.HookimplOpts(
                wrapper=False,
                hookwrapper=False,
                optionalhook=False,
                tryfirst=False,
                trylast=False,
                specname=None,
            )
        return options

    def _is_implemented(self, plugin: object, hook: str) -> bool:
        # The system's inherited methods count, too: a hook has its default implementation.
        return plugin is self._system or (isinstance(plugin, System) and overrides(plugin, hook))


def _check_awaitable(
    outcome: pluggy.Result[Any],  # Any: of whichever hook it was
    hook_name: str,
    hook_impls: Sequence[pluggy.HookImpl],
    kwargs: Mapping[str, object],
) -> None:
    """Raise `PluginError` if a wrapper of an async hook returned something not awaitable."""
    if is_async(hook_name) and outcome.exception is None:
        result = outcome.get_result()
        if not inspect.isawaitable(result):
            wrappers = [label(i.plugin) for i in hook_impls if i.wrapper or i.hookwrapper]
            raise PluginError(
                f"hook {hook_name!r} returned {result!r}, which is not awaitable: its wrapper "
                f"({', '.join(wrappers)}) must return an awaitable around the result of `yield`"
            )
