"""The plugins of one session: its system, and whoever observes or wraps it.

Nothing else in the package touches pluggy's relay. Each session has its own, so
sessions on different systems live side by side.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any, cast

import pluggy

from .._events import Event
from ..errors import PluginError
from ..services._names import close_match, did_you_mean
from ._system import Capability, System

_logger = logging.getLogger("bigmachine.plugins")

_HOOKS: dict[str, FunctionType] = {
    name: value for name, value in vars(System).items() if hasattr(value, "bigmachine_spec")
}
_OBSERVED = ("event",)  # told to every plugin; all other hooks are the one system's


class Plugins:
    """What a session calls its backend through.

    ``observers`` were asked for by the user, so a fault in one is a `PluginError`,
    as is any in the ``system``. ``installed`` ones, by label (see `load_observers`),
    merely happen to be there: a fault is logged and the plugin left out. The one
    given last is the outermost wrapper.
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
        for label, plugin in (installed or {}).items():
            try:
                self._register(plugin)
            except PluginError:
                _logger.warning("observer %s is left out", label, exc_info=True)
        for plugin in observers:
            self._register(plugin)

    @property
    def hooks(self) -> System:
        """Call the system's hooks through this, by keyword, wrappers and all.

        The cast is honest: each of them is ``firstresult`` and has exactly one
        implementation (an observer may only wrap it), so the relay's call
        returns what the system's method returns, under the same signature.
        Only `event` is not like that; it goes by `notify`.
        """
        return cast(System, self._manager.hook)

    def notify(self, event: Event) -> None:
        """Tell ``event`` to every plugin; an observer that raises is logged and dropped.

        So is all it wraps. The system itself is logged but kept: the session
        still needs it to free its machines.
        """
        # Last registered first, as pluggy calls them; one by one, since the relay
        # would stop at the first that raises.
        for implementation in reversed(self._manager.hook.event.get_hookimpls()):
            plugin = implementation.plugin
            try:
                implementation.function(*[event][: len(implementation.argnames)])
            except Exception:
                if plugin is self.system:
                    _logger.exception("%s raised at %r", _label(plugin), event)
                else:
                    _logger.exception("%s raised at %r; it is dropped", _label(plugin), event)
                    self._manager.unregister(plugin)

    def _register(self, plugin: object) -> None:
        self._manager.check(plugin)
        try:
            self._manager.register(plugin)
        except pluggy.PluginValidationError as exc:
            raise PluginError(f"{_label(plugin)}: {self._manager.mismatch(plugin)}") from exc
        except ValueError as exc:
            raise PluginError(f"{_label(plugin)} is registered twice in one session") from exc


def check_system(system: type[System]) -> None:
    """Raise the `PluginError` that a session would, without options to make ``system`` of."""
    Plugins(system.__new__(system))


class _Manager(pluggy.PluginManager):
    """Takes every hook of the chosen system for an implementation, marked or not."""

    def __init__(self, system: System) -> None:
        super().__init__("bigmachine")
        self._system = system
        self.add_hookspecs(System)
        self.add_hookcall_monitoring(lambda *_: None, _check_awaitable)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        if isinstance(inspect.getattr_static(plugin, name, None), property):
            return None  # some pluggy versions would read it, which runs the plugin's code
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and name in _HOOKS and self._is_implemented(plugin, name):
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
        # The system's inherited methods count too: an unoverridden hook gives its default.
        return plugin is self._system or (
            isinstance(plugin, System) and _is_overridden(plugin, hook)
        )

    def check(self, plugin: object) -> None:
        """Raise `PluginError` for what pluggy would take, but can't have been meant."""
        if plugin is self._system:
            _check_system(self._system)
        elif inspect.isclass(plugin):
            raise PluginError(f"{_label(plugin)} is a class; pass an instance of it")
        names = [name for name in dir(plugin) if self.parse_hookimpl_opts(plugin, name)]
        for name in names:
            try:
                self._check_implementation(plugin, name)
            except PluginError as exc:
                raise PluginError(f"{_label(plugin)}: {exc}") from None
        if not names:
            raise PluginError(
                f"{_label(plugin)} has no hooks: mark its methods with @bigmachine.hookimpl"
            )
        for name in () if isinstance(plugin, System) else sorted(set(_HOOKS) - set(names)):
            if callable(inspect.getattr_static(plugin, name, None)):
                _logger.warning(
                    "%s.%s is not marked with @bigmachine.hookimpl, so it is never called",
                    _label(plugin),
                    name,
                )

    def _check_implementation(self, plugin: object, name: str) -> None:
        options = self.parse_hookimpl_opts(plugin, name)
        assert options is not None
        hook = options.get("specname") or name
        is_wrapper = bool(options.get("wrapper") or options.get("hookwrapper"))
        method = getattr(plugin, name)
        if hook not in _HOOKS:
            raise PluginError(f"there is no hook {hook!r}{did_you_mean(hook, _HOOKS)}")
        if plugin is self._system and (is_wrapper or hook != name):
            raise PluginError(
                f"{name!r} wraps or renames hook {hook!r}; a system overrides it instead"
            )
        if is_wrapper:
            if hook in _OBSERVED:
                raise PluginError(f"hook {hook!r} goes to each plugin by itself; don't wrap it")
            if not inspect.isgeneratorfunction(method):
                raise PluginError(
                    f"the wrapper of hook {hook!r} must be a plain `def` with one `yield`"
                    + (", which gives it the awaitable" if _is_async(hook) else "")
                )
        elif plugin is not self._system and hook not in _OBSERVED:
            raise PluginError(
                f"hook {hook!r} is the system's; wrap it with @bigmachine.hookimpl(wrapper=True)"
            )
        elif _is_async(hook) != inspect.iscoroutinefunction(method):
            raise PluginError(
                f"hook {hook!r} must be "
                + ("`async def`, not a plain `def`" if _is_async(hook) else "a plain `def`")
            )
        for parameter in inspect.signature(method).parameters.values():
            # pluggy fills only the ones it takes for required: positional, without a default.
            if parameter.name in _offered(hook) and not _is_filled(parameter):
                raise PluginError(
                    f"hook {hook!r} would never get {parameter.name!r}: "
                    "arguments must be positional and have no default"
                )

    def mismatch(self, plugin: object) -> str:
        """Say which of the plugin's signatures asks for more than its hook offers."""
        for name in dir(plugin):
            options = self.parse_hookimpl_opts(plugin, name)
            if options is not None:
                hook = options.get("specname") or name
                offered = _offered(hook)
                taken = inspect.signature(getattr(plugin, name)).parameters.values()
                unknown = [p.name for p in taken if _is_filled(p) and p.name not in offered]
                if unknown:
                    return (
                        f"hook {hook!r} has no argument {', '.join(map(repr, unknown))}"
                        f"{did_you_mean(unknown[0], offered)}; it offers "
                        + (", ".join(map(repr, offered)) or "none")
                    )
        return "a hook is implemented wrongly"


def _check_system(system: System) -> None:
    if not system.name:
        raise PluginError(f"{_label(system)} sets no `name`")
    for name in _HOOKS:
        value = inspect.getattr_static(system, name)
        if not isinstance(value, FunctionType | staticmethod | classmethod):
            raise PluginError(f"{_label(system)}: hook {name!r} is {value!r}, not a method")
    # Everything else has a default that works, or says what is lacking.
    if not _is_overridden(system, "start") and type(system).launch is System.launch:
        raise PluginError(f"{_label(system)} must override the hook 'start', or 'launch'")
    for value in system.capabilities:
        if value not in set(Capability):
            raise PluginError(
                f"{_label(system)} declares an unknown capability {str(value)!r}"
                + did_you_mean(str(value), list(Capability))
            )
    for capability in Capability:  # each bears the name of the hook that it promises
        is_overridden = _is_overridden(system, capability.value)
        if capability in system.capabilities and not is_overridden:
            raise PluginError(
                f"{_label(system)} declares the capability {capability.value!r} "
                "but does not override the hook of that name"
            )
        if is_overridden and capability not in system.capabilities:
            _logger.warning(
                "%s overrides hook %r but does not declare the capability, so it may not be used",
                _label(system),
                capability.value,
            )
    missing = [hook for hook in _HOOKS if not _is_overridden(system, hook)]
    for name in sorted(set(dir(type(system))) - set(dir(System))):
        is_method = isinstance(inspect.getattr_static(system, name), FunctionType)
        if not is_method or name.startswith("_"):
            continue
        hook = close_match(name, missing, cutoff=0.8)  # higher: a system has methods of its own
        if hook:
            _logger.warning("%s.%s is no hook: did you mean %r?", _label(system), name, hook)


def _check_awaitable(
    outcome: pluggy.Result[Any],  # Any: of whichever hook it was
    hook_name: str,
    hook_impls: Sequence[pluggy.HookImpl],
    kwargs: Mapping[str, object],
) -> None:
    """Name the wrappers around an async hook that gave the caller nothing to await."""
    if _is_async(hook_name) and outcome.exception is None:
        result = outcome.get_result()
        if not inspect.isawaitable(result):
            wrappers = [_label(i.plugin) for i in hook_impls if i.wrapper or i.hookwrapper]
            raise PluginError(
                f"hook {hook_name!r} gave {result!r}, which can't be awaited: its wrapper "
                f"({', '.join(wrappers)}) must return an awaitable around what `yield` gave it"
            )


def _offered(hook: str) -> Sequence[str]:
    return list(inspect.signature(_HOOKS[hook]).parameters)[1:]


def _is_filled(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind in (
        parameter.POSITIONAL_ONLY,
        parameter.POSITIONAL_OR_KEYWORD,
    )


def _is_async(hook: str) -> bool:
    return inspect.iscoroutinefunction(_HOOKS[hook])


def _is_overridden(system: System, hook: str) -> bool:
    return inspect.getattr_static(system, hook) is not _HOOKS[hook]


def _label(plugin: object) -> str:
    if isinstance(plugin, ModuleType):
        return f"module {plugin.__name__}"
    cls = plugin if isinstance(plugin, type) else type(plugin)
    label = f"{cls.__module__}.{cls.__qualname__}"
    return f"system {plugin.name!r} ({label})" if isinstance(plugin, System) else label
