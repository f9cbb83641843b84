"""A session's status as plain text, for terminals and for grep."""

from __future__ import annotations

from collections.abc import Iterator

from .._values import duration_text, size_text
from ._status import MachineStatus, MethodStatus, SessionStatus


def status_text(status: SessionStatus) -> str:
    """Return the status as text: a few lines for the session, then one or two a machine."""
    return "\n".join(_lines(status)) + "\n"


def _lines(status: SessionStatus) -> Iterator[str]:
    counts = dict.fromkeys(("running", "booting", "launched", "stopped"), 0)
    for machine in status.machines:
        counts[machine.state] += 1
    yield f"session {status.name} on {status.system}, open for {duration_text(status.age)}"
    listed = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    yield f"machines: {listed or 'none'}"
    if status.cost_per_hour is not None:
        yield f"cost: ${status.cost_per_hour:.3f} an hour now"
    if status.cost:
        yield f"cost so far: {status.cost}"
    width = max((len(machine.name) for machine in status.machines), default=0)
    for machine in status.machines:
        yield f"  {machine.name:{width}}  {'  '.join(_facts(machine))}"
        for remark in filter(None, [machine.error, machine.notice]):
            yield f"  {'':{width}}  {remark}"
    for method in status.methods:
        yield f"  {_method_text(method)}"
    if status.forgotten:
        yield f"and {status.forgotten} more that have stopped"


def _facts(machine: MachineStatus) -> Iterator[str]:
    yield f"{machine.state:8}"
    yield from filter(None, [machine.addr, machine.zone, machine.kind])
    if machine.id:
        yield f"id {machine.id}"
    yield duration_text(machine.age)
    if machine.boot_phase:
        yield machine.boot_phase + _progress(machine)
    if machine.maxprocs is not None:
        yield f"{machine.maxprocs} core{'s' * (machine.maxprocs != 1)}"
    if machine.cpus is not None:
        yield f"CPU {machine.cpus:.0%}"
    if machine.load is not None:
        yield f"load {machine.load:.2f}"
    if machine.memory_used is not None and machine.memory_bytes is not None:
        yield f"memory {machine.memory_used:.0%} of {size_text(int(machine.memory_bytes))}"
    if machine.gpu_used is not None:
        yield f"{machine.gpus} GPU{'s' * (machine.gpus != 1)} {machine.gpu_used:.0%}"
    if machine.gpu_memory_used is not None and machine.gpu_memory_bytes is not None:
        total = size_text(int(machine.gpu_memory_bytes))
        yield f"GPU memory {machine.gpu_memory_used:.0%} of {total}"
    if machine.disk_free_bytes is not None:
        yield f"disk {size_text(int(machine.disk_free_bytes))} free"
    if machine.calls_in_flight:
        calls = f"call{'s' * (machine.calls_in_flight != 1)}"
        yield f"{machine.calls_in_flight:.0f} {calls} in flight"
    if machine.calls_per_second:
        yield f"{machine.calls_per_second:.1f} calls/s"
    if machine.is_silent:
        age = machine.silent_for
        yield "SILENT" + (f": its last reply came {duration_text(age)} ago" if age else "")
    elif machine.reply_time is not None:
        yield f"replies in {machine.reply_time * 1000:.1f} ms"
    if not machine.is_healthy:
        yield "UNHEALTHY: it has used 95 % of its memory"


def _method_text(method: MethodStatus) -> str:
    calls = f"{method.begun:.0f} call{'s' * (method.begun != 1)}"
    text = f"{method.name}: {calls}, {method.in_flight:.0f} in flight"
    if method.raised:
        text += f", {method.raised:.0f} raised"
    if method.per_second is not None:
        text += f", {method.per_second:.1f}/s"
    if method.median is not None and method.p99 is not None:
        text += f", median {_time(method.median)}, 99 % within {_time(method.p99)}"
    return text


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds * 1000:,.2f} ms"


def _progress(machine: MachineStatus) -> str:
    done, total = machine.boot_done, machine.boot_total
    if not total:
        return ""
    if machine.boot_phase == "upload":
        return f" {size_text(done)} of {size_text(total)}"
    return f" {done} of {total}"
