"""Find mistakes in plugins before a session uses them, and say how to correct them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from types import FunctionType, MethodType
from typing import TYPE_CHECKING

from .._spelling import close_match, did_you_mean
from ..errors import PluginError
from ._hooks import HOOKS, OBSERVED, hook_arguments, is_async, label, overrides
from ._system import Capability, System

if TYPE_CHECKING:
    import pluggy

_logger = logging.getLogger("bigmachine.plugins")


def check_hooks(
    plugin: object, implementations: Mapping[str, pluggy.HookimplOpts], *, is_system: bool
) -> None:
    """Raise `PluginError` for mistakes that pluggy would accept.

    ``implementations`` has the plugin's methods that implement or wrap a hook, by name.
    ``is_system`` tells whether the plugin is the session's system.
    """
    for name, options in implementations.items():
        try:
            _check_implementation(plugin, name, options, is_system=is_system)
        except PluginError as exc:
            raise PluginError(f"{label(plugin)}: {exc}") from None
    if not implementations:
        raise PluginError(
            f"{label(plugin)} has no hooks: mark its methods with @bigmachine.hookimpl"
        )
    for name in () if isinstance(plugin, System) else sorted(set(HOOKS) - set(implementations)):
        if callable(inspect.getattr_static(plugin, name, None)):
            _logger.warning(
                "%s.%s is not marked with @bigmachine.hookimpl, so it is never called",
                label(plugin),
                name,
            )


def check_system_class(system: System) -> None:
    """Raise `PluginError` if the class of ``system`` lacks something, or contradicts itself."""
    if not system.name:
        raise PluginError(f"{label(system)} sets no `name`")
    for name in HOOKS:
        value = inspect.getattr_static(system, name)
        if not isinstance(value, FunctionType | staticmethod | classmethod):
            raise PluginError(f"{label(system)}: hook {name!r} is {value!r}, not a method")
    # Every other hook has a default that works, or that raises `NotSupportedError`.
    if not overrides(system, "start") and type(system).launch is System.launch:
        own = sorted(set(dir(type(system))) - set(dir(System)))
        near = [match for hook in ("launch", "start") if (match := close_match(hook, own))]
        hint = f": is {near[0]!r} meant as one of them?" if near else ""
        raise PluginError(f"{label(system)} must override the hook 'start', or 'launch'{hint}")
    if isinstance(system.launch, MethodType) and not inspect.iscoroutinefunction(system.launch):
        raise PluginError(f"{label(system)}: 'launch' must be `async def`, not a plain `def`")
    _check_signature(system, "launch", "spec")
    _check_signature(system, "stop", "instance")
    for value in system.capabilities:
        if value not in set(Capability):
            raise PluginError(
                f"{label(system)} declares an unknown capability {str(value)!r}"
                + did_you_mean(str(value), list(Capability))
            )
    for capability in Capability:  # its value is the name of the hook
        is_overridden = overrides(system, capability.value)
        if capability in system.capabilities and not is_overridden:
            raise PluginError(
                f"{label(system)} declares the capability {capability.value!r} "
                "but does not override the hook of that name"
            )
        if is_overridden and capability not in system.capabilities:
            _logger.warning(
                "%s overrides hook %r but does not declare the capability, so it is not used",
                label(system),
                capability.value,
            )
    missing = [hook for hook in HOOKS if not overrides(system, hook)]
    for name in sorted(set(dir(type(system))) - set(dir(System))):
        is_method = isinstance(inspect.getattr_static(system, name), FunctionType)
        if not is_method or name.startswith("_"):
            continue
        hook = close_match(name, missing, cutoff=0.8)  # higher: a system has its own methods
        if hook:
            _logger.warning("%s.%s is not a hook: did you mean %r?", label(system), name, hook)


def signature_mismatch(plugin: object, implementations: Mapping[str, pluggy.HookimplOpts]) -> str:
    """Say which of the plugin's hooks has an argument that the spec does not have."""
    for name, options in implementations.items():
        hook = options.get("specname") or name
        offered = hook_arguments(hook)
        taken = inspect.signature(getattr(plugin, name)).parameters.values()
        unknown = [p.name for p in taken if _is_required(p) and p.name not in offered]
        if unknown:
            guess = did_you_mean(unknown[0], offered)
            return (
                f"hook {hook!r} has no argument {', '.join(map(repr, unknown))}"
                f"{f'{guess} It' if guess else '; it'} has "
                + (", ".join(map(repr, offered)) or "none")
            )
    return "a hook has the wrong signature"


def _check_signature(system: System, name: str, argument: str) -> None:
    """Check a method that core also calls directly, where pluggy leaves out no argument."""
    signature = inspect.signature(getattr(system, name))
    try:
        signature.bind(None)
    except TypeError:
        taken = ", ".join(["self", *signature.parameters])
        raise PluginError(
            f"{label(system)}: {name!r} must take (self, {argument}); it takes ({taken})"
        ) from None


def _check_implementation(
    plugin: object, name: str, options: pluggy.HookimplOpts, *, is_system: bool
) -> None:
    hook = options.get("specname") or name
    is_wrapper = bool(options.get("wrapper") or options.get("hookwrapper"))
    method = getattr(plugin, name)
    if hook not in HOOKS:
        raise PluginError(f"there is no hook {hook!r}{did_you_mean(hook, HOOKS)}")
    if is_system and (is_wrapper or hook != name):
        raise PluginError(f"{name!r} wraps or renames hook {hook!r}; a system overrides it instead")
    if is_wrapper:
        if hook in OBSERVED:
            raise PluginError(f"hook {hook!r} goes to each plugin directly; it cannot be wrapped")
        if not inspect.isgeneratorfunction(method):
            raise PluginError(
                f"the wrapper of hook {hook!r} must be a plain `def` with one `yield`"
                + (", which returns the awaitable" if is_async(hook) else "")
            )
    elif not is_system and hook not in OBSERVED:
        raise PluginError(
            f"only a system implements hook {hook!r}; "
            "wrap it with @bigmachine.hookimpl(wrapper=True)"
        )
    elif is_async(hook) != inspect.iscoroutinefunction(method):
        raise PluginError(
            f"hook {hook!r} must be "
            + ("`async def`, not a plain `def`" if is_async(hook) else "a plain `def`")
        )
    for parameter in inspect.signature(method).parameters.values():
        # pluggy only passes the required ones: positional, without a default.
        if parameter.name in hook_arguments(hook) and not _is_required(parameter):
            raise PluginError(
                f"hook {hook!r} would never receive {parameter.name!r}: "
                "arguments must be positional and have no default"
            )


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind in (
        parameter.POSITIONAL_ONLY,
        parameter.POSITIONAL_OR_KEYWORD,
    )
