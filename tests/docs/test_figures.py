"""Figures and names in the prose and the tables of the documentation are those of the code."""

from __future__ import annotations

import dataclasses
import datetime
import inspect
import re

import pytest

import bigmachine as bm
from bigmachine import errors
from bigmachine._driver import Driver
from bigmachine._identity import _VALIDITY
from bigmachine._values import LIMIT_BYTES
from bigmachine.boot import _bootstrap, _relays
from bigmachine.boot._bootstrap import boot_seconds
from bigmachine.boot.vm import builder, program, tools
from bigmachine.boot.vm.common import CHUNK_BYTES as BOOT_CHUNK_BYTES
from bigmachine.boot.vm.log import LOG_BYTES
from bigmachine.cli import _BROKEN_PIPE, _INTERRUPTED, _USAGE
from bigmachine.cloud import CONTACT_SECONDS, CloudSystem
from bigmachine.cloud._system import _METAL_BOOT_TIMEOUT
from bigmachine.cloud.guest import _files
from bigmachine.cloud.requests._retries import _CANCELLED_SECONDS
from bigmachine.debug import _board, _measures
from bigmachine.debug._board import StatusBoard
from bigmachine.debug._server import DebugServer
from bigmachine.environment import _archive, _cache, _scan
from bigmachine.logs import _kept, _record_lines
from bigmachine.machine import _keepalive, _output
from bigmachine.machine.output import _pace, _stderr
from bigmachine.machine.supervisor import _memory_report, _service_batch
from bigmachine.metrics import _instruments, _registry
from bigmachine.otel import _buffer
from bigmachine.profiling import _heap, _sampler
from bigmachine.progress import _display, _plain
from bigmachine.reaper import _found_sessions, _main
from bigmachine.rpc import _frames, _payload
from bigmachine.rpc.client import _lanes
from bigmachine.rpc.server.pools import _place_watch, _threads
from bigmachine.services._names import TEARDOWN_SECONDS
from bigmachine.session import _closing, _cost, _idle, _log_thread
from bigmachine.session._arguments import DEFAULT_DEBUG_ADDRESS
from bigmachine.system import CloudOptions, System, _launch
from bigmachine.system._options import describe_options
from bigmachine.testing import InProcessOptions, InProcessSystem
from bigmachine.testing.conformance import Suite
from bigmachine.testing.conformance._clauses import Tier, clause_of
from bigmachine.testing.conformance._config import SuiteConfig
from bigmachine.testing.faults import Fault
from bigmachine.worker import _exit, _serve, _service_store, _supervisor
from bigmachine.worker._loop_watch import LoopWatch
from bigmachine_azure import AzureOptions
from bigmachine_azure.guest import _delete_vm
from bigmachine_azure.guest import _notices as azure_notices
from bigmachine_azure.options import _tags as azure_tags
from bigmachine_azure.resources import _deallocation
from bigmachine_ec2 import Ec2Options
from bigmachine_ec2.catalog import _prices as ec2_prices
from bigmachine_ec2.guest import _notices as ec2_notices
from bigmachine_ec2.options import _tags as ec2_tags
from bigmachine_gcp import GcpOptions
from bigmachine_gcp.catalog import _price_cache
from bigmachine_gcp.guest import _delete_instance
from bigmachine_gcp.launch import _launch as gcp_launch
from bigmachine_gcp.launch._launch_specification import MAX_RUN_SECONDS
from bigmachine_gcp.options import _labels as gcp_labels
from bigmachine_local import LocalSystem
from tests.docs.markdown import ROOT, section

DOCS = ROOT / "docs"
WORDS = dict(
    enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
)
MIB = 1 << 20
KIB = 1 << 10


def default(function: object, name: str) -> float:
    """Return the default of a function's argument."""
    return inspect.signature(function).parameters[name].default


def whole(number: float) -> int:
    """Return a number as an integer, which it must be."""
    assert number == int(number)
    return int(number)


def spelt(value: object, figure: object, words: str) -> str:
    """Return how a page spells a figure out; another value is in no page."""
    return words if value == figure else f"not {words}, but {value}"


KEEPALIVE = bm.Keepalive()
LOCAL_KEEPALIVE = LocalSystem().keepalive()
IDLE_MINIMUM = CloudOptions.__dataclass_fields__["idle_timeout"].metadata["minimum"]

# Each is a part of a page's text, with the code's own figures in it.
FIGURES = [
    (
        "machines.md",
        f"The defaults are {KEEPALIVE.period:g} s for `period`, {KEEPALIVE.rpc_timeout:g} s for "
        f"`rpc_timeout` and {KEEPALIVE.timeout:g} s for `timeout`; `local` has a `timeout` of "
        f"{LOCAL_KEEPALIVE.timeout:g} s",
    ),
    ("machines.md", f"on its own computer {WORDS[LocalSystem.open_files_per_machine]}"),
    ("machines.md", f"take up to {2 * _lanes.MAX_LANES_OF_PROCESS} more"),
    ("machines.md", f"only after {WORDS[_keepalive._BUSY_TIMEOUTS]} times the timeout"),
    ("machines.md", f"quotes the last {errors._QUOTED_LINES} lines"),
    ("machines.md", f"If {_supervisor.UNHEALTHY_MEMORY:.0%} of the memory".replace("%", " %")),
    ("machines.md", f"the last {_memory_report._KEPT_REPORTS} of all your sessions are kept"),
    ("machines.md", f"where less than {_supervisor._HEAP_BYTES // MIB} MiB are left"),
    ("machines.md", f"{WORDS[_memory_report._AT_ONCE]} are asked at a time"),
    (
        "machines.md",
        f"looks at its memory every {WORDS[whole(default(LoopWatch, 'period'))]} seconds",
    ),
    (
        "machines.md",
        f"the last {_output._CONSOLE_LINES} lines of the boot console, if the system has one, and "
        f"the last {_output._LINES} that the machine printed: up to "
        f"{_output._ERROR_CHARACTERS:,} characters of each line",
    ),
    ("machines.md", f"{_log_thread._MAX_RECORDS:,} records may wait"),
    (
        "machines.md",
        f"A start that takes longer than {spelt(_display.SHOWN_AFTER, 1.0, 'a second')} shows",
    ),
    (
        "machines.md",
        f"now and then, at most once a {spelt(_plain._MOST_SECONDS, 60.0, 'minute')}",
    ),
    (
        "machines.md",
        f"memory, at most once a {spelt(_memory_report.PERIOD_SECONDS, 60.0, 'minute')}",
    ),
    ("machines.md", f"it tries again for {spelt(_main._MOST_SECONDS, 1800.0, 'half an hour')}"),
    (
        "machines.md",
        f"started more than {spelt(_found_sessions._OLD, datetime.timedelta(days=1), 'a day')} ago",
    ),
    ("machines.md", f"within {WORDS[whole(_closing.CLOSE_TIMEOUT / 60)]} minutes"),
    ("machines.md", f"there is one line after {WORDS[whole(_plain.FIRST_SECONDS)]} seconds"),
    ("machines.md", f"* {_USAGE} after an error"),
    ("machines.md", f"* {_INTERRUPTED} after Ctrl-C, and {_BROKEN_PIPE} if the reader"),
    ("services.md", f"other buffers of {_payload._OUT_OF_BAND_BYTES // KIB} KiB or more"),
    ("services.md", f"a service of {_service_batch.RELAYED_BYTES // MIB} MiB or more"),
    ("services.md", f"has at most {_threads.MAX_DETACHED} threads for them"),
    ("services.md", f"beside the `maxprocs` others, at most {_threads.MAX_CONCURRENT} at a time"),
    ("services.md", f"a method does nothing for {_place_watch.IDLE_SECONDS:g} s while"),
    ("services.md", f"After {default(LoopWatch, 'limit'):g} to 5 s"),
    ("services.md", f"the `finally` blocks of generators have {_serve._CALLS_SECONDS:g} s"),
    ("services.md", f"Each may take {TEARDOWN_SECONDS:g} s"),
    ("services.md", f"their `atexit` handlers have {_serve._PROCESSES_SECONDS:g} s"),
    ("services.md", f"they have {_exit.EXIT_HANDLERS_SECONDS:g} s. Files"),
    ("cost.md", f"When {_cost._WARNING_FRACTION:.0%} of the limit".replace("%", " %")),
    ("cost.md", f"in seconds, at least {IDLE_MINIMUM:g}"),
    (
        "cost.md",
        f"plus {spelt(_cost._FREEING_SECONDS, 60.0, 'one minute')} of all running machines",
    ),
    ("cost.md", f"and for at least {spelt(_cost._LEAST_SECONDS, 60.0, 'a minute')}"),
    (
        "cost.md",
        f"a {spelt(_idle._WARNING_FRACTION, 0.2, 'fifth')} of the timeout before, at least "
        f"{spelt(_idle._LEAST_WARNING, 60.0, 'one minute')} and at most "
        f"{spelt(_idle._MOST_WARNING, 600.0, 'ten')}",
    ),
    (
        "cost.md",
        f"by a {spelt(_idle._ASK_FRACTION, 1 / 20, 'twentieth')} of the timeout or "
        f"{spelt(_idle._LONGEST_ASK, 60.0, 'one minute')}, whichever is less",
    ),
    ("cost.md", f"after each idle {spelt(_idle._HOUR, 3600.0, 'hour')}"),
    ("logs.md", f"on `local` within {LOCAL_KEEPALIVE.period:g} s, on others within a minute"),
    ("logs.md", f"Of a message, {_record_lines._TEXT_CHARACTERS:,} characters arrive"),
    ("logs.md", f"of what `extra=` adds, {_record_lines._EXTRA_CHARACTERS:,} as JSON"),
    (
        "logs.md",
        f"the last {_kept.KEPT_BYTES // KIB} KiB are kept, {_kept.KEPT_LINES:,} lines at most, and "
        f"{_kept.KEPT_LINE_BYTES // KIB} KiB of a line",
    ),
    ("logs.md", f"ended, the last {_kept.ENDED_BYTES // MIB} MiB are kept"),
    (
        "logs.md",
        f"{_pace.LINES_AT_ONCE:,} lines are shown at once, then {_pace.LINES_PER_SECOND} a second",
    ),
    ("logs.md", f"A line of more than {_output._LINE_BYTES // KIB} KiB is shown in parts"),
    (
        "logs.md",
        f"A machine's first {_pace._STEPS_AT_ONCE} steps are shown, at most "
        f"{WORDS[whole(1 / _pace._SECONDS_BETWEEN_STEPS)]} in a second, then one every "
        f"{_pace._SECONDS_PER_STEP:g} s",
    ),
    ("logs.md", f"Up to {_stderr.QUEUE_BYTES // MIB} MiB of output wait in memory"),
    (
        "logs.md",
        f"as {_stderr._OWN_BYTES // KIB} KiB of each machine are kept, up to "
        f"{2 * _stderr.QUEUE_BYTES // MIB} MiB in all",
    ),
    ("logs.md", f"if that takes at most {_stderr.FLUSH_SECONDS:g} s"),
    (
        "logs.md",
        f"{spelt(_output._PATIENCE_SECONDS, 1.0, 'for one second')} at first, later for at most a "
        f"{spelt(_output._PATIENCE_FRACTION, 0.1, 'tenth')} of the time",
    ),
    ("debug.md", f"The default address is `{DEFAULT_DEBUG_ADDRESS}`"),
    ("debug.md", f"asked for these every {WORDS[whole(_measures.PERIOD)]} seconds"),
    ("debug.md", f"The last {_board.STOPPED_KEPT:,} of these stay"),
    ("metrics.md", f"Beyond {_instruments.MAX_SERIES:,} sets of labels"),
    ("metrics.md", f"at most {_registry.MAX_NAMES:,} metrics"),
    ("metrics.md", f"within `timeout` seconds ({default(bm.Session.variables, 'timeout'):g}"),
    ("profiling.md", f"{default(bm.Session.profile, 'seconds'):g} seconds by default"),
    ("profiling.md", f"the other threads, {_sampler.HZ:g} times a second"),
    ("profiling.md", f"takes more than {_sampler.MAX_SHARE:.0%}".replace("%", " %")),
    ("profiling.md", f"`timeout` seconds ({default(bm.Session.profile, 'timeout'):g}) after"),
    ("profiling.md", f"`timeout` ({default(bm.Session.heap, 'timeout'):g}) are as for"),
    ("profiling.md", f"of more than {spelt(_heap.MAX_OBJECTS, 10**6, 'a million')} objects"),
    ("traces.md", f"keeps up to {_buffer.MAX_SPANS:,} spans"),
    ("wire.md", f"has at most {_frames.CHUNK_BYTES // KIB} KiB, and"),
    ("wire.md", f"pickle is larger than {_frames.INLINE_BYTES // KIB} KiB"),
    ("wire.md", f"Parts of a message from {_frames.SHARED_BYTES // MIB} MiB on"),
    ("wire.md", f"third call within {spelt(_lanes._WANTED_SECONDS, 1.0, 'a second')}"),
    ("wire.md", f"closes it after {_lanes.IDLE_SECONDS:g} to 15 seconds"),
    (
        "wire.md",
        f"up to {_lanes.MAX_LANES} of each session, and a process up to "
        f"{_lanes.MAX_LANES_OF_PROCESS} to all its machines",
    ),
    ("wire.md", f"of which tasks have up to {_lanes.MAX_TASK_LANES}"),
    (
        "wire.md",
        f"is not reached within {_service_store._CONNECT_SECONDS:g} s or says nothing for "
        f"{_service_store._SILENCE_SECONDS:g} s (it says every "
        f"{_service_store._SIGN_OF_LIFE_SECONDS:g} s",
    ),
    ("wire.md", f"After {WORDS[_relays._MAX_FAILURES]} such failures"),
    ("wire.md", f"serves them itself, {WORDS[_relays._DRIVER_UPLOADS]} at a time"),
    (
        "wire.md",
        f"services of {_service_batch.RELAYED_BYTES // MIB} MiB or more; "
        f"{_service_batch.LOCAL_RELAYED_BYTES // MIB} MiB, if",
    ),
    ("booting.md", f"signs a certificate for it | {_bootstrap._IDENTIFY_SECONDS:g} s |"),
    ("booting.md", f"at the same address | {_bootstrap._START_SECONDS:g} s |"),
    ("booting.md", f"no index answers within {tools.INDEX_SECONDS:g} s"),
    ("booting.md", f"at least the last {LOG_BYTES // MIB} MiB and at most {2 * LOG_BYTES // MIB}"),
    ("booting.md", f"at most {BOOT_CHUNK_BYTES // KIB} KiB at a time"),
    ("booting.md", f"keeps the {WORDS[builder.KEPT_ENVIRONMENTS]} environments"),
    ("booting.md", f"or {WORDS[whole(program.EXIT_REPORT_SECONDS)]} seconds later"),
    (
        "environment.md",
        f"larger than {LIMIT_BYTES // MIB} MiB together, or a folder has more than "
        f"{_scan.MAX_ENTRIES:,} files",
    ),
    ("environment.md", f"more than {_archive._SMALL_BYTES // KIB} KiB is changed"),
    ("environment.md", f"up to {_cache._LIMIT_BYTES >> 30} GiB"),
    ("backends.md", f"Core launches up to {_launch._AT_ONCE} machines at once"),
    (
        "security.md",
        f"`start_timeout`, {System.start_timeout / 60:g} minutes), plus the time until the VM must "
        f"answer (its `boot_timeout`: {System.boot_timeout / 60:g} minutes",
    ),
    (
        "security.md",
        f"valid for {spelt(_VALIDITY, datetime.timedelta(days=365), 'one year')} at most",
    ),
    (
        "ec2.md",
        f"at most {spelt(_CANCELLED_SECONDS, 30.0, 'half a minute')} more",
    ),
    (
        "ec2.md",
        f"if no driver has connected {WORDS[whole(CONTACT_SECONDS / 60)]} minutes after its boot",
    ),
    (
        "ec2.md",
        f"as a boot may take: {System.boot_timeout:g} seconds, or {_METAL_BOOT_TIMEOUT:g} for bare",
    ),
    ("ec2.md", f"older than {spelt(ec2_prices._SPOT_SECONDS, 600.0, 'ten minutes')}"),
    ("ec2.md", f"Together they may be {_files._MAX_BYTES // MIB} MiB"),
    (
        "gcp.md",
        f"or {whole(MAX_RUN_SECONDS / 86400)} days, the longest that Google allows",
    ),
    ("gcp.md", f"It tries for {_delete_instance.MAX_SECONDS} seconds"),
    ("gcp.md", f"kept for {spelt(_price_cache._MAX_AGE_SECONDS, 86400.0, 'a day')} in"),
    (
        "gcp.md",
        f"operation, {spelt(gcp_launch._OPERATION_SECONDS, 30.0, 'half a minute')} at most",
    ),
    ("azure.md", f"goes on for {_delete_vm.REFUSED_SECONDS // 60} minutes: an identity"),
    ("azure.md", f"it goes on for {spelt(_delete_vm.MAX_SECONDS, 86400, 'a day')}: a VM"),
    ("azure.md", f"tries for {spelt(_delete_vm.SHUTDOWN_SECONDS, 30, 'half a minute')}"),
    (
        "azure.md",
        f"reads the events every {WORDS[whole(azure_notices._POLL_SECONDS)]} seconds",
    ),
    (
        "azure.md",
        f"moves away every {WORDS[whole(_deallocation._RENEW_SECONDS / 3600)]} hours",
    ),
    *(
        (page, f"{WORDS[whole(CONTACT_SECONDS / 60)]} minutes after its boot if no driver")
        for page in ("gcp.md", "azure.md")
    ),
    (
        "ec2.md",
        f"asks its metadata service every {WORDS[whole(ec2_notices._POLL_SECONDS)]} seconds",
    ),
]


@pytest.mark.parametrize("page", sorted({page for page, _ in FIGURES}))
def test_figures_of_a_page_are_those_of_the_code(page: str) -> None:
    text = " ".join((DOCS / page).read_text().split())
    assert [figure for where, figure in FIGURES if where == page and figure not in text] == []


class Verified(System):
    name = "verified"
    verifies_boot = True


def test_boot_credential_is_valid_as_long_as_security_says() -> None:
    assert boot_seconds(System()) == System.start_timeout + System.boot_timeout + 60.0
    assert boot_seconds(Verified()) == boot_seconds(System()) + System.boot_timeout


# -- tables ----------------------------------------------------------------------------


def names(page: str, heading: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(DOCS / page, heading), re.M)


def test_states_and_reasons_are_documented() -> None:
    assert names("machines.md", "States") == [state.name for state in bm.State]
    assert names("machines.md", "How it ends") == [reason.name for reason in bm.StopReason]


def test_faults_are_documented() -> None:
    assert set(names("faults.md", "What can fail")) == {fault.name for fault in Fault}


def test_events_are_documented_with_their_fields() -> None:
    text = section(DOCS / "backends.md", "Observers") + section(
        DOCS / "backends.md", "Events of calls"
    )
    rows = dict(re.findall(r"^\| `([A-Z]\w+)` \| ([^:|]*)", text, re.M))
    started, ended = re.findall(r"^\| `call_\w+` \| `Call\w+`: ([^|]*)", text, re.M)
    rows["CallStarted"], rows["CallEnded"] = started, f"{started}, {ended}"
    documented = {name: re.findall(r"`(\w+)`", fields) for name, fields in rows.items()}
    assert documented == {
        event.__name__: [each.name for each in dataclasses.fields(event)]
        for event in bm.Event.__subclasses__()
        if event.__module__ == bm.Event.__module__  # not those of tests
    }


def test_details_of_instances_are_documented() -> None:
    table = re.findall(r"^\| (`.*?`) \|", section(DOCS / "backends.md", "async instances"), re.M)
    documented = {key for row in table for key in re.findall(r"`(\w+)`", row)}
    described = (bm.Instance.__doc__ or "").partition("* ``kind``")
    keys = re.findall(r"(?:\* |, and )``(\w+)``[,:]", "".join(described[1:]))
    assert documented == set(keys)


def test_tags_are_documented() -> None:
    vm = {"immortal": True, "lifetime": 3600.0, "port": 7444}
    driver = dataclasses.replace(Driver.here(), user="ada", command="train.py")
    of_ec2 = ec2_tags.session_tags("s-1.bigmachine", driver, Ec2Options(**vm))
    rows = re.findall(r"^\| `([\w:]+)` \|", section(DOCS / "ec2.md", "Leftovers"), re.M)
    assert set(rows) == {*of_ec2, ec2_tags.REQUEST}
    assert f"they also get `{ec2_tags.MACHINES}`" in (DOCS / "ec2.md").read_text()
    of_azure = azure_tags.session_tags("s-1.bigmachine", driver, AzureOptions(**vm))
    text = section(DOCS / "azure.md", "Leftovers").partition("Yours are added")[0]
    tags = azure_tags.machine_tags(of_azure, "m0.s-1.bigmachine", "token")
    assert set(re.findall(r"`(bigmachine-\w+)`", text)) == set(tags)
    text = section(DOCS / "gcp.md", "Leftovers").partition("and yours")[0]
    labels = {*gcp_labels.session_labels("s-1.bigmachine", GcpOptions()), gcp_labels.REQUEST}
    assert set(re.findall(r"`(bigmachine-\w+)`", text)) == labels


def test_options_of_in_process_machines_are_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", (DOCS / "testing.md").read_text(), re.M)
    options = describe_options(InProcessOptions, system_name="")
    assert rows == [(option.name, str(option.default)) for option in options]


def test_what_a_suite_tells_the_kit_is_documented() -> None:
    text = section(DOCS / "writing-a-backend.md", "The fixture")
    documented = set(re.findall(r"^\| `(\w+)(?:\(\w*\))?` \|", text, re.M))
    assert documented == {each.name for each in dataclasses.fields(SuiteConfig)}
    assert f"in seconds: {Suite.timeout:g}, or more" in text


@pytest.mark.parametrize("page", ["ec2.md", "gcp.md"])
def test_number_of_tests_that_cost_money_is_documented(page: str) -> None:
    kit = [clause_of(Suite, name) for name in dir(Suite) if name.startswith("test_")]
    can = {None, *CloudSystem.capabilities}
    paid = [clause for clause in kit if clause.tier is not Tier.OFFLINE and clause.needs in can]
    assert f"{len(paid)} tests start two machines each" in (DOCS / page).read_text()


# Between bigmachine's own processes, and not for users.
INTERNAL_VARIABLES = {
    "BIGMACHINE_CONFORMANCE",
    "BIGMACHINE_HEARTBEAT",
    "BIGMACHINE_LOG",
    "BIGMACHINE_PYTHONPATH",
    "BIGMACHINE_STARTED_BY",
}


def test_environment_variables_are_documented() -> None:
    sources = [
        path.read_text()
        for folder in ("core/src", "plugins")
        for path in (ROOT / folder).rglob("*.py")
    ]
    read = {name for text in sources for name in re.findall(r'= "(BIGMACHINE_[A-Z_]+)"', text)}
    read |= {name for text in sources for name in re.findall(r'get\("(BIGMACHINE_\w+)"', text)}
    pages = "".join(page.read_text() for page in DOCS.glob("*.md"))
    undocumented = {name for name in read if not re.search(rf"{name}\b", pages)}
    assert undocumented == INTERNAL_VARIABLES


def test_pages_of_debug_server_are_documented() -> None:
    table = section(DOCS / "debug.md", "For scripts")
    documented = set(re.findall(r"^\| `(/[\w./]*)", table, re.M))
    board = StatusBoard("x", system="x", machines=list, cost=bm.Cost)
    server = DebugServer(board, bm.AsyncSession(InProcessSystem))
    assert documented == set(server._routes) - {"/", "/page.css", "/page.js"}


def test_metrics_of_machines_are_documented_with_their_kinds() -> None:
    rows = re.findall(
        r"^\| (`bigmachine_.*?`) \| (\w+) \|", (DOCS / "metrics.md").read_text(), re.M
    )
    documented = {name: kind for part, kind in rows for name in re.findall(r"`(\w+)`", part)}

    class Echo:
        def echo(self) -> None: ...

    with bm.Session(InProcessSystem) as session:
        [machine] = session.start(1, services={"Echo": Echo()})
        machine.call("Echo.echo")
        variables = machine.variables()
    measured = {name: variables[name].kind for name in variables if name.startswith("bigmachine_")}
    assert documented == measured
