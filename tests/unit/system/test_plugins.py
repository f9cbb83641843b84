from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from types import ModuleType
from typing import Any, ClassVar

import pluggy
import pytest
import trio

from bigmachine._events import Event, SessionClosed
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


def test_an_unmarked_override_is_the_implementation() -> None:
    class Two(Smallest):
        def maxprocs(self) -> int:
            return 2

    plugins = Plugins(Two())
    assert [instance.name for instance in start(plugins)] == ["m0", "m1"]
    assert plugins.hooks.maxprocs() == 2
    assert isinstance(plugins.system, Two)


def test_a_hook_not_overridden_gives_its_default() -> None:
    plugins = Plugins(Smallest())
    assert plugins.hooks.keepalive() == Keepalive()
    assert plugins.hooks.maxprocs() is None
    assert trio.run(plugins.hooks.setup) is None
    with pytest.raises(NotSupportedError, match="tail"):
        plugins.hooks.tail(instance=Instance("m0", "host:1"))


def test_a_hook_may_take_fewer_arguments_than_it_is_offered() -> None:
    class CountOnly(System):
        name = "count"

        async def start(self, count):
            return [count]

    assert start(Plugins(CountOnly()), 5) == [5]


def test_an_override_inherited_from_a_base_class_counts() -> None:
    class Derived(Smallest):
        name = "derived"

    assert len(start(Plugins(Derived()))) == 2


def test_two_sessions_hold_two_systems_side_by_side() -> None:
    class Other(Smallest):
        def maxprocs(self) -> int:
            return 9

    one, other = Plugins(Smallest()), Plugins(Other())
    assert (one.hooks.maxprocs(), other.hooks.maxprocs()) == (None, 9)


def test_a_wrong_signature_is_refused_and_names_plugin_hook_and_what_is_offered() -> None:
    class Wrong(System):
        name = "wrong"

        async def start(self, counts, request): ...

    with pytest.raises(PluginError) as caught:
        Plugins(Wrong())
    text = str(caught.value)
    assert "system 'wrong'" in text
    assert "Wrong" in text
    assert "hook 'start' has no argument 'counts'; did you mean 'count'?" in text
    assert "it has 'count', 'request'" in text
    assert isinstance(caught.value.__cause__, pluggy.PluginValidationError)


def test_a_missing_required_hook_is_named() -> None:
    class Nothing(System):
        name = "nothing"

    with pytest.raises(PluginError, match=r"'nothing'.*override the hook 'start', or 'launch'"):
        Plugins(Nothing())


def test_a_plain_def_where_the_hook_is_async_is_refused() -> None:
    class Sync(System):
        name = "sync"

        def start(self, count, request): ...

    with pytest.raises(PluginError, match=r"'sync'.*'start' must be `async def`"):
        Plugins(Sync())


def test_an_async_def_where_the_hook_is_plain_is_refused() -> None:
    class Async(Smallest):
        async def maxprocs(self): ...

    with pytest.raises(PluginError, match="'maxprocs' must be a plain `def`"):
        Plugins(Async())


def test_an_async_generator_serves_a_hook_that_returns_an_async_iterator() -> None:
    class Tailed(Smallest):
        capabilities = frozenset({Capability.TAIL})

        async def tail(self, instance: Instance) -> AsyncIterator[bytes]:
            yield instance.name.encode()

    async def lines() -> list[bytes]:
        return [line async for line in Plugins(Tailed()).hooks.tail(instance=Instance("m", "h:1"))]

    assert trio.run(lines) == [b"m"]


def test_an_argument_that_pluggy_would_never_fill_is_refused() -> None:
    class Defaulted(System):
        name = "defaulted"

        async def start(self, count, request=None): ...

    class KeywordOnly(System):
        name = "keyword-only"

        async def start(self, count, *, request): ...

    for system in (Defaulted(), KeywordOnly()):
        with pytest.raises(PluginError, match="'start' would never receive 'request'"):
            Plugins(system)


def test_arguments_of_its_own_may_have_defaults_and_the_blame_falls_on_the_right_hook() -> None:
    class Own(Smallest):
        def maxprocs(self, extra=3, **more):
            return extra

    class Wrong(Own):
        async def stop(self, machine): ...

    assert Plugins(Own()).hooks.maxprocs() == 3
    with pytest.raises(PluginError, match="hook 'stop' has no argument 'machine'"):
        Plugins(Wrong())


def test_a_hook_that_is_no_method_is_refused() -> None:
    class Constant(Smallest):
        maxprocs = 4

    with pytest.raises(PluginError, match="hook 'maxprocs' is 4, not a method"):
        Plugins(Constant())


def test_a_system_without_a_name_is_refused() -> None:
    class Nameless(Smallest):
        name = ""

    with pytest.raises(PluginError, match=r"Nameless.* sets no `name`"):
        Plugins(Nameless())


def test_a_method_that_is_nearly_a_hook_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
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


def test_properties_of_a_plugin_are_not_run() -> None:
    class Lazy(Smallest):
        @property
        def connection(self):
            raise AssertionError("read while registering")

    class Watching(Observer):
        connection = Lazy.connection

    Plugins(Lazy(), observers=[Watching()])


def test_a_class_can_be_checked_without_its_options() -> None:
    class NeedsOptions(Smallest):
        def __init__(self, options: object) -> None:
            raise AssertionError("made")

    class Broken(NeedsOptions):
        def start(self, count): ...

    check_system(NeedsOptions)
    with pytest.raises(PluginError, match="async def"):
        check_system(Broken)


# -- capabilities --------------------------------------------------------------


def test_a_capability_without_its_hook_is_refused() -> None:
    class Promises(Smallest):
        capabilities = frozenset({Capability.CONSOLE})

    with pytest.raises(PluginError, match="declares the capability 'console'"):
        Plugins(Promises())


def test_an_unknown_capability_is_refused_with_the_one_meant() -> None:
    class Misspelt(Smallest):
        capabilities: ClassVar = frozenset({"tial"})

    with pytest.raises(PluginError, match="unknown capability 'tial'; did you mean 'tail'"):
        Plugins(Misspelt())


def test_a_hook_without_its_capability_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    class Modest(Smallest):
        async def console(self, instance: Instance) -> str:
            return ""

    Plugins(Modest())
    assert "'console' but does not declare the capability" in caplog.text


# -- observers -----------------------------------------------------------------


class Observer:
    def __init__(self) -> None:
        self.seen: list[Event] = []

    @hookimpl
    def event(self, event: Event) -> None:
        self.seen.append(event)


def test_every_plugin_is_told_of_an_event() -> None:
    class Watching(Smallest):
        def event(self, event: Event) -> None:
            seen.append(event)

    seen: list[Event] = []
    one, other = Observer(), Observer()
    Plugins(Watching(), observers=[one, other]).notify(EVENT)
    assert seen == one.seen == other.seen == [EVENT]


def test_plugins_are_told_in_pluggys_order() -> None:
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


def test_an_observer_may_be_a_module_and_may_ignore_the_event() -> None:
    module = ModuleType("told")
    told = []

    @hookimpl
    def event():
        told.append(True)

    module.event = event
    Plugins(Smallest(), observers=[module]).notify(EVENT)
    assert told == [True]


def test_an_observer_that_raises_is_logged_and_dropped_and_the_others_are_still_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Raising:
        calls = 0

        @hookimpl
        def event(self, event: Event) -> None:
            self.calls += 1
            raise LookupError("its own fault")

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
    assert "its own fault" in caplog.text


def test_the_system_itself_raising_at_an_event_is_logged_and_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Raising(Smallest):
        def event(self, event: Event) -> None:
            raise LookupError("its own fault")

    plugins = Plugins(Raising())
    plugins.notify(EVENT)
    plugins.notify(EVENT)
    assert caplog.text.count("LookupError: its own fault") == 2
    assert len(start(plugins)) == 2


def test_a_plugin_given_twice_is_refused() -> None:
    observer = Observer()
    with pytest.raises(PluginError, match="Observer is registered twice"):
        Plugins(Smallest(), observers=[observer, observer])
    system = Smallest()
    with pytest.raises(PluginError, match=r"'smallest'.* is registered twice"):
        Plugins(system, observers=[system])
    Plugins(Smallest(), observers=[Observer(), Observer()])  # two of a kind are fine


def test_an_observer_without_hooks_is_refused() -> None:
    class Unmarked:
        def event(self, event): ...

    for plugin in (Unmarked(), object(), None):
        with pytest.raises(PluginError, match="has no hooks: mark its methods"):
            Plugins(Smallest(), observers=[plugin])


def test_an_observers_unmarked_method_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    class Half(Observer):
        def shutdown(self): ...

    Plugins(Smallest(), observers=[Half()])
    assert "Half.shutdown is not marked" in caplog.text


def test_a_marked_method_that_is_no_hook_is_refused() -> None:
    class Misspelt:
        @hookimpl
        def evnt(self, event): ...

    with pytest.raises(PluginError, match="no hook 'evnt'; did you mean 'event'"):
        Plugins(Smallest(), observers=[Misspelt()])


def test_an_observers_class_in_place_of_an_instance_is_refused() -> None:
    with pytest.raises(PluginError, match="Observer is a class"):
        Plugins(Smallest(), observers=[Observer])


def test_an_observer_may_not_take_the_systems_place() -> None:
    class Usurper:
        @hookimpl
        async def start(self, count): ...

    for plugin in (Usurper(), Smallest()):
        with pytest.raises(PluginError, match="only a system implements hook 'start'; wrap it"):
            Plugins(Smallest(), observers=[plugin])


def test_an_installed_observer_at_fault_is_logged_and_left_out(
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


def test_a_wrapper_surrounds_the_awaited_work() -> None:
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


def test_a_wrapper_meets_the_error_of_the_awaited_work() -> None:
    class Failing(System):
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

    assert start(Plugins(Failing(), observers=[Fallback()])) == []
    with pytest.raises(OSError, match="no capacity"):
        start(Plugins(Failing()))


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_wrapper_that_forgets_to_return_is_named() -> None:
    class Forgetful:
        @hookimpl(wrapper=True)
        def start(self):
            yield

    with pytest.raises(PluginError, match=r"'start' returned None.*Forgetful"):
        start(Plugins(Smallest(), observers=[Forgetful()]))


def test_an_async_wrapper_is_refused() -> None:
    class AsyncWrapper:
        @hookimpl(wrapper=True)
        async def start(self):
            yield

    with pytest.raises(PluginError, match="wrapper of hook 'start' must be a plain `def`"):
        Plugins(Smallest(), observers=[AsyncWrapper()])


def test_event_is_not_to_be_wrapped() -> None:
    class EventWrapper:
        @hookimpl(wrapper=True)
        def event(self):
            return (yield)

    with pytest.raises(PluginError, match="'event' goes to each plugin directly"):
        Plugins(Smallest(), observers=[EventWrapper()])


def test_a_system_does_not_wrap_its_own_hooks() -> None:
    class Selfish(Smallest):
        @hookimpl(wrapper=True)
        def shutdown(self):
            return (yield)

    with pytest.raises(PluginError, match="a system overrides it instead"):
        Plugins(Selfish())
