"""Where methods run: in tasks that are reused, and in a limited number of threads."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import trio
import trio.testing

from bigmachine.errors import UsageError
from bigmachine.rpc._exceptions import CallError
from bigmachine.rpc._streams import WINDOW_BYTES
from bigmachine.rpc.loop._tasks import Job, TaskPool
from bigmachine.rpc.server.pools._thread_job import do_nothing
from bigmachine.rpc.server.pools._threads import MAX_DETACHED, ThreadPool
from bigmachine.services._decorators import concurrent
from bigmachine.services._waiting import waiting
from tests.support.waiting import eventually
from tests.unit.rpc.wires import memory, run, thread_pool, threads_of_pools

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Jobs:
    """Runs functions in a thread pool and waits until their results are handled."""

    def __init__(self, pool: ThreadPool) -> None:
        self.pool = pool
        self.finished = 0
        self.all_done = trio.Event()
        self.started = 0

    def start(self, function: Callable[[], object]) -> Callable[[], object]:
        def run() -> Callable[[], None]:
            function()
            return self._finish

        self.started += 1
        return self.pool.start(run).cancel

    def _finish(self) -> None:
        self.finished += 1
        if self.finished == self.started:
            self.all_done.set()


@pytest.fixture
def no_more_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], AbstractContextManager[object]]:
    """A block in which the system starts no thread for a pool."""

    def start(
        thread: threading.Thread, start: Callable[..., None] = threading.Thread.start
    ) -> None:
        if thread.name.startswith("bigmachine-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    @contextlib.contextmanager
    def limited() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            yield

    return limited


Limit = Callable[[], AbstractContextManager[object]]


def test_call_in_a_thread_fails_if_there_can_be_none(no_more_threads: Limit) -> None:
    async def main() -> None:
        async with thread_pool(1) as pool:
            with no_more_threads(), pytest.raises(CallError, match="can start no thread"):
                await pool.call(lambda: 1, name="f")
            for result in range(2):
                assert await pool.call(lambda result=result: result, name="f") == result

    run(main)


def test_job_without_a_thread_waits_only_for_one_that_computes(no_more_threads: Limit) -> None:
    async def main() -> None:
        begins, goes_on, ends = threading.Event(), threading.Event(), threading.Event()
        events: list[str] = []

        def compute_and_wait() -> Callable[[], None]:
            begins.set()
            goes_on.wait(60)
            with waiting():
                ends.wait(60)
            return do_nothing

        def note() -> Callable[[], None]:
            return functools.partial(events.append, "ran")

        def refused(error: CallError) -> None:
            events.append(str(error))

        async with thread_pool(3) as pool:
            pool.start(compute_and_wait)
            await eventually(begins.is_set)
            with no_more_threads():
                pool.start(note, name="S.f", refused=refused)
                await trio.testing.wait_all_tasks_blocked()
                assert events == []
                goes_on.set()
                await eventually(lambda: events)
                pool.start(note, name="S.g", refused=refused)
                await eventually(lambda: len(events) == 2)
                assert [event[:5] for event in events] == ["S.f: ", "S.g: "]
                ends.set()
                await eventually(lambda: not pool.is_busy)
                for _ in range(3):  # places and threads are as before
                    pool.start(note, refused=refused)
                await eventually(lambda: events[2:] == ["ran"] * 3)

    run(main)


@pytest.mark.parametrize("name", ["S.f", "S.items"])
def test_method_without_a_thread_fails_at_its_caller(no_more_threads: Limit, name: str) -> None:
    class Service:
        def __init__(self) -> None:
            self.is_held, self.release = threading.Event(), threading.Event()

        def f(self) -> int:
            return 1

        def items(self) -> Iterator[bytes]:
            while True:
                yield bytes(WINDOW_BYTES // 2)

        @concurrent
        def hold(self) -> None:
            self.is_held.set()
            self.release.wait(60)

    async def main() -> None:
        service = Service()
        async with memory(service, maxprocs=1) as wire, trio.open_nursery() as nursery:
            with contextlib.closing(await wire.stream("items")) as items:
                assert await anext(items)
                assert await wire.call("f") == 1
                with no_more_threads():
                    nursery.start_soon(wire.call, "hold")
                    await eventually(service.is_held.is_set)

                    async def read() -> None:
                        async for _ in items:
                            pass

                    call = functools.partial(wire.call, "f") if name == "S.f" else read
                    with pytest.raises(UsageError, match=f"{name}: the machine can start no thr"):
                        await call()
                service.release.set()
                assert await wire.call("f") == 1

    run(main)


def test_thread_pool_runs_no_more_threads_than_its_limit() -> None:
    async def main() -> None:
        running, most, lock = 0, 0, threading.Lock()
        barrier = threading.Barrier(3)

        def work() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            barrier.wait(60)  # all three run at once, or none continues
            with lock:
                running -= 1

        async with thread_pool(3) as pool:
            jobs = Jobs(pool)
            for _ in range(30):
                jobs.start(work)
            await jobs.all_done.wait()
        assert most == 3
        assert jobs.finished == 30

    run(main)


def test_idle_thread_is_reused_before_new_one_is_started() -> None:
    async def main() -> None:
        names: set[str] = set()
        async with thread_pool(8) as pool:
            for _ in range(20):
                jobs = Jobs(pool)
                jobs.start(lambda: names.add(threading.current_thread().name))
                await jobs.all_done.wait()
        assert names == {"bigmachine-1"}

    run(main)


def test_results_of_thread_jobs_are_handled_in_loop_in_order_of_completion() -> None:
    async def main() -> None:
        seen: list[tuple[int, int]] = []
        async with thread_pool(1) as pool:
            done = trio.Event()
            for i in range(10):

                def run(i: int = i) -> Callable[[], None]:
                    def handle_result() -> None:
                        seen.append((i, threading.get_ident()))
                        if i == 9:
                            done.set()

                    return handle_result

                pool.start(run)
            await done.wait()
        assert seen == [(i, threading.get_ident()) for i in range(10)]

    run(main)


def test_thread_job_cancelled_before_its_start_does_not_run() -> None:
    async def main() -> None:
        ran: list[int] = []
        gate = threading.Event()
        async with thread_pool(1) as pool:
            jobs = Jobs(pool)
            jobs.start(lambda: gate.wait(60))
            cancels = [jobs.start(lambda i=i: ran.append(i)) for i in range(4)]
            assert cancels[1]()
            assert cancels[1]()  # again: it will never run
            jobs.started -= 1
            gate.set()
            await jobs.all_done.wait()
            assert not cancels[3]()  # too late: nothing happens
            again = Jobs(pool)
            again.start(lambda: ran.append(9))
            await again.all_done.wait()
        assert ran == [0, 2, 3, 9]

    run(main)


def test_thread_job_cancelled_before_its_start_keeps_no_arguments() -> None:
    async def main() -> None:
        gate = threading.Event()
        async with thread_pool(1) as pool:
            jobs = Jobs(pool)
            jobs.start(lambda: gate.wait(60))
            arguments = threading.Event()  # what can be referred to weakly
            known = weakref.ref(arguments)

            def run(arguments: threading.Event = arguments) -> Callable[[], None]:
                return do_nothing

            job = pool.start(run)
            del run, arguments
            job.cancel()
            assert known() is None
            gate.set()
            await jobs.all_done.wait()

    run(main)


def test_waiting_or_cancelled_jobs_let_others_run_but_never_more_than_limit() -> None:
    async def main() -> None:
        running, most, lock = 0, 0, threading.Lock()
        blocked, release = threading.Semaphore(0), threading.Event()

        def block() -> None:
            blocked.release()
            release.wait(60)

        def work() -> None:
            nonlocal running, most
            for _ in range(3):
                with lock:
                    running += 1
                    most = max(most, running)
                with lock:
                    running -= 1
                with waiting():
                    pass

        async with thread_pool(2) as pool:
            for _ in range(5):
                job = pool.start(lambda: block() or do_nothing)
                await trio.to_thread.run_sync(blocked.acquire)
                assert not job.cancel()
            for _ in range(2):  # while the cancelled ones run, and after them
                jobs = Jobs(pool)
                for _ in range(30):
                    jobs.start(work)
                await jobs.all_done.wait()
                release.set()
            assert 1 <= most <= 2

    run(main)


def test_job_cancelled_while_it_waits_goes_on_without_place() -> None:
    async def main() -> None:
        waits, done = threading.Event(), threading.Event()
        gate, place = threading.Event(), threading.Event()

        def wait() -> Callable[[], None]:
            with waiting():
                waits.set()
                gate.wait(60)
            return done.set  # type: ignore[return-value]

        async with thread_pool(1) as pool:
            job = pool.start(wait)
            await trio.to_thread.run_sync(waits.wait)
            pool.start(lambda: (place.wait(60) and do_nothing) or do_nothing)
            assert not job.cancel()
            gate.set()
            await eventually(done.is_set)
            place.set()

    run(main)


def test_thousand_waiting_jobs_have_limited_threads_and_all_finish(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        most = 0
        gate = threading.Event()

        def wait() -> None:
            nonlocal most
            most = max(most, threading.active_count())
            with waiting():
                gate.wait(60)

        async with thread_pool(2) as pool:
            before = threading.active_count()
            jobs = Jobs(pool)
            for _ in range(1000):
                jobs.start(wait)
            await eventually(lambda: "keeps its place" in caplog.text)
            gate.set()
            await jobs.all_done.wait()
            assert most - before <= MAX_DETACHED + 2
            # A thread that is not kept ends a moment after its last job.
            await eventually(
                lambda: sum("bigmachine-" in t.name for t in threading.enumerate()) < 50
            )
        assert len(caplog.records) == 1

    run(main)


def test_threads_end_when_pool_closes() -> None:
    async def main() -> None:
        async with thread_pool(4) as pool:
            gate = threading.Barrier(5)
            jobs = Jobs(pool)
            for _ in range(4):
                jobs.start(lambda: gate.wait(60))
            gate.wait(60)
            await jobs.all_done.wait()
            alive = [t.name for t in threading.enumerate() if t.name.startswith("bigmachine-")]
            assert len(alive) == 4
        assert threads_of_pools() == []

    run(main)


def test_thread_that_outlives_loop_ends_without_error() -> None:
    gate = threading.Event()

    async def main() -> None:
        async with thread_pool(1) as pool:
            jobs = Jobs(pool)
            jobs.start(lambda: gate.wait(60))

    trio.run(main)
    gate.set()
    assert threads_of_pools() == []


def test_context_variables_do_not_leak_between_thread_jobs() -> None:
    async def main() -> None:
        seen: list[str] = []

        def work() -> None:
            seen.append(variable.get())
            variable.set("leaked")

        async with thread_pool(1) as pool:
            jobs = Jobs(pool)
            for _ in range(5):
                jobs.start(work)
            await jobs.all_done.wait()
        assert seen == ["unset"] * 5

    run(main)


# -- tasks ---------------------------------------------------------------------


def test_idle_tasks_are_reused() -> None:
    async def main() -> None:
        tasks: set[trio.lowlevel.Task] = set()

        async def work() -> None:
            tasks.add(trio.lowlevel.current_task())
            await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            pool = TaskPool(nursery)
            for _ in range(20):
                pool.start(work)
                await trio.testing.wait_all_tasks_blocked()
            assert len(tasks) == 1
            for _ in range(5):
                pool.start(work)
            await trio.testing.wait_all_tasks_blocked()
            assert len(tasks) == 5
            for _ in range(5):
                pool.start(work)
            await trio.testing.wait_all_tasks_blocked()
            assert len(tasks) == 5
            nursery.cancel_scope.cancel()

    run(main)


def test_limited_number_of_idle_tasks_is_kept() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            pool = TaskPool(nursery)
            for _ in range(1000):
                pool.start(trio.lowlevel.checkpoint)
            await trio.testing.wait_all_tasks_blocked()
            assert 0 < len(nursery.child_tasks) <= 256
            jobs = [pool.start(trio.sleep_forever) for _ in range(1000)]
            await trio.testing.wait_all_tasks_blocked()
            for job in jobs:
                job.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert 0 < len(nursery.child_tasks) <= 256
            nursery.cancel_scope.cancel()

    run(main)


def test_cancelling_job_ends_only_that_job_and_keeps_its_task() -> None:
    async def main() -> None:
        events: list[str] = []

        async def forever(name: str) -> None:
            try:
                await trio.sleep_forever()
            finally:
                events.append(name)

        async def note(name: str) -> None:
            events.append(name)

        async with trio.open_nursery() as nursery:
            pool = TaskPool(nursery)
            first = pool.start(lambda: forever("first"))
            second = pool.start(lambda: forever("second"))
            await trio.testing.wait_all_tasks_blocked()
            first.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert events == ["first"]
            pool.start(lambda: note("third"))
            await trio.testing.wait_all_tasks_blocked()
            assert events == ["first", "third"]
            assert len(nursery.child_tasks) == 2
            second.cancel()
            second.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert events == ["first", "third", "second"]
            nursery.cancel_scope.cancel()

    run(main)


def test_cancelling_finished_job_does_not_affect_next_job() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            pool = TaskPool(nursery)
            old: list[Job] = []
            finished = 0

            async def work() -> None:
                nonlocal finished
                for job in old:
                    job.cancel()
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                finished += 1

            for i in range(10):
                job = pool.start(work)
                for other in old:
                    other.cancel()
                await trio.testing.wait_all_tasks_blocked()
                job.cancel()
                old.append(job)
                assert finished == i + 1
            nursery.cancel_scope.cancel()

    run(main)


def test_task_job_cancelled_before_its_start_does_not_run() -> None:
    async def main() -> None:
        ran: list[int] = []

        async def note(i: int) -> None:
            await trio.lowlevel.checkpoint()
            ran.append(i)

        async with trio.open_nursery() as nursery:
            pool = TaskPool(nursery)
            for i in range(3):  # in a new task, and in one that waited
                pool.start(lambda i=i: note(i)).cancel()
                await trio.testing.wait_all_tasks_blocked()
                pool.start(lambda i=i: note(10 + i))
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert ran == [10, 11, 12]

    run(main)


def test_job_cancelled_after_its_last_checkpoint_completes() -> None:
    async def main() -> None:
        done: list[int] = []

        async with trio.open_nursery() as nursery:
            pool = TaskPool(nursery)
            jobs: list[Job] = []

            async def work() -> None:
                jobs[-1].cancel()  # of itself, with no checkpoint after it
                done.append(len(jobs))

            for _ in range(3):
                jobs.append(pool.start(work))
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert done == [1, 2, 3]

    run(main)


def test_context_variables_do_not_leak_between_task_jobs() -> None:
    async def main() -> None:
        seen: list[str] = []

        async def work() -> None:
            seen.append(variable.get())
            variable.set("leaked")
            await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            pool = TaskPool(nursery)
            for _ in range(5):
                pool.start(work)
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert seen == ["unset"] * 5

    run(main)


def test_shielded_job_may_finish_after_its_cancellation() -> None:
    async def main() -> None:
        go, done = trio.Event(), trio.Event()

        async def work() -> None:
            with trio.CancelScope(shield=True):
                await go.wait()
            done.set()

        async with trio.open_nursery() as nursery:
            pool = TaskPool(nursery)
            job = pool.start(work)
            await trio.testing.wait_all_tasks_blocked()
            job.cancel()
            go.set()
            await done.wait()
            nursery.cancel_scope.cancel()

    run(main)


class Hosted:
    """A job of a pool that begins others within itself."""

    def __init__(self, pool: TaskPool, *functions: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.jobs: list[Job] = []
        self.has_ended: list[bool] = []  # the host, after each
        self._pool = pool
        self._functions = functions
        self.host = pool.start(self._run)

    async def _run(self) -> None:
        for function in self._functions:
            self.jobs.append(self._pool.start(function, within=self.host))
            self.has_ended.append(self.host.has_ended)
            if self.host.has_ended:
                return


def test_jobs_that_never_wait_run_within_another_at_once() -> None:
    async def main() -> None:
        seen: list[str] = []
        contexts: list[contextvars.Context] = []

        async def work() -> None:
            seen.append(variable.get())
            variable.set("leaked")
            contexts.append(trio.lowlevel.current_task().context)

        async def fail() -> None:
            raise ValueError

        async with trio.open_nursery() as nursery:
            hosted = Hosted(TaskPool(nursery), work, fail, work)
            await trio.testing.wait_all_tasks_blocked()
            assert hosted.has_ended == [False] * 3
            assert all(job.has_ended for job in hosted.jobs)
            assert seen == ["unset"] * 2
            assert [context[variable] for context in contexts] == ["leaked"] * 2
            [task] = nursery.child_tasks
            assert variable not in task.context  # which is the host's own again
            nursery.cancel_scope.cancel()

    run(main)


@pytest.mark.parametrize("end", ["go on", "cancel"])
def test_job_that_waits_within_another_keeps_the_task_and_its_context(end: str) -> None:
    async def main() -> None:
        go, seen = trio.Event(), []

        async def wait() -> None:
            await go.wait()

        async def work() -> None:
            variable.set("of the job")
            try:
                with trio.CancelScope() as scope:
                    await wait()
                    scope.cancel()  # it is still in its own scope, in its own task
                    await trio.sleep_forever()
                await trio.lowlevel.checkpoint()
            finally:
                seen.append(variable.get())

        async with trio.open_nursery() as nursery:
            pool = TaskPool(nursery)
            hosted = Hosted(pool, work)
            await trio.testing.wait_all_tasks_blocked()
            assert hosted.has_ended == [True]
            [job], [task] = hosted.jobs, nursery.child_tasks
            assert not job.has_ended
            frames = [frame.f_code.co_name for frame, _ in task.iter_await_frames()]
            assert frames[-5:-2] == ["work", "wait", "wait"]
            go.set() if end == "go on" else job.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert job.has_ended
            assert seen == ["of the job"]
            assert Hosted(pool, work).jobs == []  # the task is used again
            assert len(nursery.child_tasks) == 1
            nursery.cancel_scope.cancel()

    run(main)


def test_job_that_spoils_its_task_within_another_keeps_it() -> None:
    async def main() -> None:
        async def leave_scope_open() -> None:
            trio.CancelScope().__enter__()

        async def leave_cancelled_scope_open() -> None:
            trio.CancelScope().__enter__().cancel()
            raise cancelled_error

        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as exc:
                cancelled_error = exc

        async with trio.open_nursery() as nursery:
            pool = TaskPool(nursery)

            async def cancel_itself() -> None:
                slot = cancelled.host.slot
                assert slot is not None
                assert slot.job is not None
                slot.job.cancel()

            spoilt = Hosted(pool, leave_scope_open)
            worse = Hosted(pool, leave_cancelled_scope_open)
            cancelled = Hosted(pool, cancel_itself)
            await trio.testing.wait_all_tasks_blocked()
            assert spoilt.has_ended == worse.has_ended == cancelled.has_ended == [True]
            await pool_works(pool)
            nursery.cancel_scope.cancel()

    run(main)


async def pool_works(pool: TaskPool) -> None:
    """Wait until a job of the pool has run."""
    done = trio.Event()

    async def work() -> None:
        await trio.lowlevel.checkpoint()
        done.set()

    pool.start(work)
    await done.wait()
