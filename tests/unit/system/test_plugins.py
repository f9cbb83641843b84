from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator, Sequence
from types import ModuleType
from typing import Any, ClassVar

import pluggy
import pytest
import trio

from bigmachine._events import CallEnded, CallStarted, Event, SessionClosed
from bigmachine._values import Instance, Keepalive
from bigmachine.errors import NotSupportedError, PluginError
from bigmachine.system import Capability, System, hookimpl
from bigmachine.system._plugins import Plugins, check_system

EVENT = SessionClosed(session="s")


class Smallest(System):
    name = "smallest"

    async def start(self, count: int, request: Any) -> Sequence[Instance]:
        await trio.lowlevel.checkpoint()
        return [Instance(f"m{number}", "host:1") for number in range(count)]


def start(plugins: Plugins, count: int = 2) -> Sequence[Instance]:
    async def call() -> Sequence[Instance]:
        return await plugins.hooks.start(count=count, request=None)  # type: ignore[arg-type]

    return trio.run(call)


# -- the system ----------------------------------------------------------------


def test_override_needs_no_hookimpl_mark() -> None:
    class Two(Smallest):
        def maxprocs(self) -> int:
            return 2

    plugins = Plugins(Two())
    assert [instance.name for instance in start(plugins)] == ["m0", "m1"]
    assert plugins.hooks.maxprocs() == 2
    assert isinstance(plugins.system, Two)


def test_hook_that_is_not_overridden_uses_default() -> None:
    plugins = Plugins(Smallest())
    assert plugins.hooks.keepalive() == Keepalive()
    assert plugins.hooks.maxprocs() is None
    assert trio.run(plugins.hooks.setup) is None
    with pytest.raises(NotSupportedError, match="^system 'smallest' has no capability 'tail'$"):
        plugins.hooks.tail(instance=Instance("m0", "host:1"))


def test_hook_may_omit_arguments() -> None:
    class CountOnly(System):
        name = "count"

        async def start(self, count):
            return [count]

    assert start(Plugins(CountOnly()), 5) == [5]


def test_override_may_be_inherited() -> None:
    class Derived(Smallest):
        name = "derived"

    assert len(start(Plugins(Derived()))) == 2


def test_two_systems_do_not_share_hooks() -> None:
    class Other(Smallest):
        def maxprocs(self) -> int:
            return 9

    one, other = Plugins(Smallest()), Plugins(Other())
    assert (one.hooks.maxprocs(), other.hooks.maxprocs()) == (None, 9)


def test_error_for_wrong_signature_names_plugin_hook_and_arguments() -> None:
    class Wrong(System):
        name = "wrong"

        async def start(self, counts, request): ...

    with pytest.raises(PluginError) as caught:
        Plugins(Wrong())
    text = str(caught.value)
    assert "system 'wrong'" in text
    assert "Wrong" in text
    words = "hook 'start' has no argument 'counts'; did you mean 'count'? It has 'count', 'request'"
    assert words in text
    assert isinstance(caught.value.__cause__, pluggy.PluginValidationError)


def test_error_names_missing_required_hook() -> None:
    class Nothing(System):
        name = "nothing"

    with pytest.raises(PluginError, match=r"'nothing'.*override the hook 'start', or 'launch'"):
        Plugins(Nothing())


def test_plain_method_for_async_hook_is_refused() -> None:
    class Sync(System):
        name = "sync"

        def start(self, count, request): ...

    with pytest.raises(PluginError, match=r"'sync'.*'start' must be `async def`"):
        Plugins(Sync())


def test_async_method_for_plain_hook_is_refused() -> None:
    class Async(Smallest):
        async def maxprocs(self): ...

    with pytest.raises(PluginError, match="'maxprocs' must be a plain `def`"):
        Plugins(Async())


def test_async_generator_may_implement_hook_that_returns_async_iterator() -> None:
    class WithTail(Smallest):
        capabilities = frozenset({Capability.TAIL})

        async def tail(self, instance: Instance) -> AsyncIterator[bytes]:
            yield instance.name.encode()

    async def lines() -> list[bytes]:
        return [
            line async for line in Plugins(WithTail()).hooks.tail(instance=Instance("m", "h:1"))
        ]

    assert trio.run(lines) == [b"m"]


def test_argument_that_pluggy_never_passes_is_refused() -> None:
    class WithDefault(System):
        name = "defaulted"

        async def start(self, count, request=None): ...

    class KeywordOnly(System):
        name = "keyword-only"

        async def start(self, count, *, request): ...

    for system in (WithDefault(), KeywordOnly()):
        with pytest.raises(PluginError, match="'start' would never receive 'request'"):
            Plugins(system)


def test_extra_arguments_with_defaults_are_never_reported_as_errors() -> None:
    class ExtraArgument(Smallest):
        def maxprocs(self, extra=3, **more):
            return extra

    class Wrong(ExtraArgument):
        async def stop(self, machine): ...

    assert Plugins(ExtraArgument()).hooks.maxprocs() == 3
    with pytest.raises(PluginError, match="hook 'stop' has no argument 'machine'"):
        Plugins(Wrong())


def test_hook_that_is_not_a_method_is_refused() -> None:
    class Constant(Smallest):
        maxprocs = 4

    with pytest.raises(PluginError, match="hook 'maxprocs' is 4, not a method"):
        Plugins(Constant())


def test_system_without_launch_is_refused_and_a_similar_name_is_told() -> None:
    class Neither(System):
        name = "neither"

    class Typo(Neither):
        async def lunch(self, spec): ...

    with pytest.raises(PluginError, match="must override the hook 'start', or 'launch'$"):
        Plugins(Neither())
    with pytest.raises(PluginError, match="or 'launch': is 'lunch' meant as one of them?"):
        Plugins(Typo())


def test_system_without_name_is_refused() -> None:
    class Nameless(Smallest):
        name = ""

    with pytest.raises(PluginError, match=r"Nameless.* sets no `name`"):
        Plugins(Nameless())


def test_warning_is_logged_for_method_with_name_similar_to_hook(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Typos(Smallest):
        async def keepalive_fail(self, instance): ...

        async def shutdow(self): ...

        def _instance(self): ...

        def read_log(self): ...

    Plugins(Typos())
    assert sorted(record.getMessage().split("Typos).")[1] for record in caplog.records) == [
        "keepalive_fail is not a hook: did you mean 'keepalive_failed'?",
        "shutdow is not a hook: did you mean 'shutdown'?",
    ]


def test_properties_of_plugins_are_not_evaluated() -> None:
    class WithProperty(Smallest):
        @property
        def connection(self):
            raise AssertionError("read while registering")

    class Observing(Observer):
        connection = WithProperty.connection

    Plugins(WithProperty(), observers=[Observing()])


def test_system_class_can_be_checked_without_options() -> None:
    class NeedsOptions(Smallest):
        def __init__(self, options: object) -> None:
            raise AssertionError("made")

    class Broken(NeedsOptions):
        def start(self, count): ...

    check_system(NeedsOptions)
    with pytest.raises(PluginError, match="async def"):
        check_system(Broken)


# -- capabilities --------------------------------------------------------------


def test_capability_without_its_hook_is_refused() -> None:
    class WithoutHook(Smallest):
        capabilities = frozenset({Capability.CONSOLE})

    with pytest.raises(PluginError, match="declares the capability 'console'"):
        Plugins(WithoutHook())


def test_unknown_capability_is_refused_with_suggestion() -> None:
    class Misspelt(Smallest):
        capabilities: ClassVar = frozenset({"tial"})

    with pytest.raises(PluginError, match="unknown capability 'tial'; did you mean 'tail'"):
        Plugins(Misspelt())


def test_warning_is_logged_for_hook_without_its_capability(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class WithoutCapability(Smallest):
        async def console(self, instance: Instance) -> str:
            return ""

    Plugins(WithoutCapability())
    assert "'console' but does not declare the capability" in caplog.text


# -- observers -----------------------------------------------------------------


class Observer:
    def __init__(self) -> None:
        self.seen: list[Event] = []

    @hookimpl
    def event(self, event: Event) -> None:
        self.seen.append(event)


def test_every_plugin_receives_event() -> None:
    class Observing(Smallest):
        def event(self, event: Event) -> None:
            seen.append(event)

    seen: list[Event] = []
    one, other = Observer(), Observer()
    Plugins(Observing(), observers=[one, other]).notify(EVENT)
    assert seen == one.seen == other.seen == [EVENT]


def test_plugins_receive_event_in_order_of_pluggy() -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def event(self) -> None:
            order.append(self.name)

    class Eager(Named):
        @hookimpl(tryfirst=True)
        def event(self) -> None:
            order.append(self.name)

    order: list[str] = []
    Plugins(Smallest(), observers=[Eager("eager"), Named("a"), Named("b")]).notify(EVENT)
    assert order == ["eager", "b", "a"]


def test_observer_may_be_module_and_may_omit_event_argument() -> None:
    module = ModuleType("observer")
    calls = []

    @hookimpl
    def event():
        calls.append(True)

    module.event = event
    Plugins(Smallest(), observers=[module]).notify(EVENT)
    assert calls == [True]


def test_observer_that_raises_is_removed_and_others_still_receive_events(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Raising:
        calls = 0

        @hookimpl
        def event(self, event: Event) -> None:
            self.calls += 1
            raise LookupError("error in the observer")

        @hookimpl(wrapper=True)
        def maxprocs(self):
            yield
            return 77

    first, raising, last = Observer(), Raising(), Observer()
    plugins = Plugins(Smallest(), observers=[first, raising, last])
    assert plugins.hooks.maxprocs() == 77
    plugins.notify(EVENT)
    plugins.notify(EVENT)
    assert raising.calls == 1
    assert first.seen == last.seen == [EVENT, EVENT]
    assert plugins.hooks.maxprocs() is None
    [record] = caplog.records
    assert record.name == "bigmachine.plugins"
    assert record.levelno == logging.ERROR
    assert "Raising" in record.getMessage()
    assert record.exc_info is not None
    assert "error in the observer" in caplog.text


def test_calls_are_told_only_to_plugins_that_have_the_hook() -> None:
    class Counting(Smallest):
        def call_ended(self, call: CallEnded) -> None:
            seen.append(call)

    class Sending:
        @hookimpl
        def call_started(self) -> dict[str, str]:
            return {"traceparent": "1"}

    class Silent:
        @hookimpl
        def call_started(self) -> None: ...

    seen: list[CallEnded] = []
    assert not Plugins(Smallest(), observers=[Observer()]).observes_calls
    started = CallStarted(1, "m0", "https://a:1#m0.s", "S.m", is_stream=False, sent_bytes=10)
    ended = CallEnded(
        **dataclasses.asdict(started),
        outcome="returned",
        error=None,
        seconds=0.1,
        received_bytes=5,
        items=None,
        attempts=1,
    )
    plugins = Plugins(Counting(), observers=[Silent(), Sending(), Silent()])
    assert plugins.observes_calls
    assert not plugins.takes_spans
    assert plugins.call_started(started) == {"traceparent": "1"}
    plugins.call_ended(ended)
    assert seen == [ended]


def test_system_that_raises_on_event_is_logged_and_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Raising(Smallest):
        def event(self, event: Event) -> None:
            raise LookupError("error in the system")

    plugins = Plugins(Raising())
    plugins.notify(EVENT)
    plugins.notify(EVENT)
    assert caplog.text.count("LookupError: error in the system") == 2
    assert len(start(plugins)) == 2


def test_plugin_registered_twice_is_refused() -> None:
    observer = Observer()
    with pytest.raises(PluginError, match="Observer is registered twice"):
        Plugins(Smallest(), observers=[observer, observer])
    system = Smallest()
    with pytest.raises(PluginError, match=r"'smallest'.* is registered twice"):
        Plugins(system, observers=[system])
    Plugins(
        Smallest(), observers=[Observer(), Observer()]
    )  # two instances of one class are allowed


def test_observer_without_hooks_is_refused() -> None:
    class Unmarked:
        def event(self, event): ...

    for plugin in (Unmarked(), object(), None):
        with pytest.raises(PluginError, match="has no hooks: mark its methods"):
            Plugins(Smallest(), observers=[plugin])


def test_warning_is_logged_for_unmarked_hook_of_observer(caplog: pytest.LogCaptureFixture) -> None:
    class PartlyMarked(Observer):
        def shutdown(self): ...

    Plugins(Smallest(), observers=[PartlyMarked()])
    assert "PartlyMarked.shutdown is not marked" in caplog.text


def test_marked_method_that_is_not_a_hook_is_refused() -> None:
    class Misspelt:
        @hookimpl
        def evnt(self, event): ...

    with pytest.raises(PluginError, match="no hook 'evnt'; did you mean 'event'"):
        Plugins(Smallest(), observers=[Misspelt()])


def test_observer_class_instead_of_instance_is_refused() -> None:
    with pytest.raises(PluginError, match="Observer is a class"):
        Plugins(Smallest(), observers=[Observer])


def test_observer_cannot_implement_hook_of_system() -> None:
    class OtherStart:
        @hookimpl
        async def start(self, count): ...

    for plugin in (OtherStart(), Smallest()):
        with pytest.raises(PluginError, match="only a system implements hook 'start'; wrap it"):
            Plugins(Smallest(), observers=[plugin])


def test_faulty_installed_observer_is_logged_and_skipped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Wrong:
        @hookimpl
        def event(self, evnt): ...

    healthy = Observer()
    plugins = Plugins(Smallest(), installed={"'bad' of bad 1.0": Wrong(), "good": healthy})
    plugins.notify(EVENT)
    assert healthy.seen == [EVENT]
    assert "skipping observer 'bad' of bad 1.0" in caplog.text
    assert "no argument 'evnt'" in caplog.text
    with pytest.raises(PluginError, match="no argument 'evnt'"):
        Plugins(Smallest(), observers=[Wrong()])


# -- wrappers ------------------------------------------------------------------


def test_wrapper_runs_before_and_after_awaited_hook() -> None:
    log: list[str] = []

    class Working(System):
        name = "working"

        async def start(self, count):
            log.append("work begins")
            await trio.lowlevel.checkpoint()
            log.append("work ends")
            return [Instance("m0", "host:1")] * count

    class Wrapper:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl(wrapper=True)
        def start(self, count):
            work = yield

            async def around():
                log.append(f"{self.name} before {count}")
                try:
                    return [*await work, Instance(self.name, "host:2")]
                finally:
                    log.append(f"{self.name} after")

            return around()

    plugins = Plugins(
        Working(), installed={"inner": Wrapper("inner")}, observers=[Wrapper("outer")]
    )
    assert [instance.name for instance in start(plugins, 1)] == ["m0", "inner", "outer"]
    assert log == [
        "outer before 1",
        "inner before 1",
        "work begins",
        "work ends",
        "inner after",
        "outer after",
    ]


def test_wrapper_can_catch_error_of_awaited_hook() -> None:
    class FailingSystem(System):
        name = "failing"

        async def start(self):
            await trio.lowlevel.checkpoint()
            raise OSError("no capacity")

    class Fallback:
        @hookimpl(wrapper=True)
        def start(self):
            work = yield

            async def around():
                try:
                    return await work
                except OSError:
                    return []

            return around()

    assert start(Plugins(FailingSystem(), observers=[Fallback()])) == []
    with pytest.raises(OSError, match="no capacity"):
        start(Plugins(FailingSystem()))


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_error_names_wrapper_that_returns_nothing() -> None:
    class Forgetful:
        @hookimpl(wrapper=True)
        def start(self):
            yield

    with pytest.raises(PluginError, match=r"'start' returned None.*Forgetful"):
        start(Plugins(Smallest(), observers=[Forgetful()]))


def test_async_wrapper_is_refused() -> None:
    class AsyncWrapper:
        @hookimpl(wrapper=True)
        async def start(self):
            yield

    with pytest.raises(PluginError, match="wrapper of hook 'start' must be a plain `def`"):
        Plugins(Smallest(), observers=[AsyncWrapper()])


def test_wrapper_of_event_is_refused() -> None:
    class EventWrapper:
        @hookimpl(wrapper=True)
        def event(self):
            return (yield)

    with pytest.raises(PluginError, match="'event' goes to each plugin directly"):
        Plugins(Smallest(), observers=[EventWrapper()])


def test_system_that_wraps_its_own_hook_is_refused() -> None:
    class WrapsItself(Smallest):
        @hookimpl(wrapper=True)
        def shutdown(self):
            return (yield)

    with pytest.raises(PluginError, match="a system overrides it instead"):
        Plugins(WrapsItself())


def test_system_whose_launch_or_stop_cannot_be_called_is_refused():
    class Launches(System):
        name = "mine"

        async def launch(self, spec): ...

    class NoSpec(Launches):
        async def launch(self): ...

    class Plain(Launches):
        def launch(self, spec): ...

    class More(Launches):
        async def launch(self, spec, region): ...

    class NoInstance(Launches):
        async def stop(self): ...

    check_system(Launches)
    for system, problem in (
        (NoSpec, r"'launch' must take \(self, spec\); it takes \(self\)"),
        (Plain, "'launch' must be `async def`, not a plain `def`"),
        (More, r"'launch' must take \(self, spec\); it takes \(self, spec, region\)"),
        (NoInstance, r"'stop' must take \(self, instance\)"),
    ):
        with pytest.raises(PluginError, match=problem):
            check_system(system)
