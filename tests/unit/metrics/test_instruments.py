"""Counters, gauges and histograms: what they count, which names they have, how they travel."""

from __future__ import annotations

import copy
import logging
import math
import pickle
import threading
from decimal import Decimal

import numpy as np
import pytest

import bigmachine as bm
from bigmachine.metrics import Counter, Gauge, Histogram, Value
from bigmachine.metrics import _registry as module
from bigmachine.metrics._instruments import MAX_SERIES, OVERFLOW
from bigmachine.metrics._registry import MAX_NAMES, Registry
from bigmachine.metrics._variables import registered


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Give each test a process of its own, as it were."""
    registry = Registry()
    monkeypatch.setattr(module, "REGISTRY", registry)
    return registry


def value(name: str, **labels: str) -> Value:
    return registered(module.REGISTRY)[name].select(**labels).value


def test_counter_adds_up_in_all_threads():
    rows = bm.counter("rows")

    def count() -> None:
        for _ in range(10_000):
            bm.counter("rows").add(2)
            rows.labels(table="users").add()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value("rows").sum == 120_000
    assert value("rows", table="users").sum == 40_000


def test_whole_numbers_stay_exact_and_whole():
    bm.counter("rows").add(2**60)
    bm.counter("rows").add(1)
    assert value("rows").sum == 2**60 + 1


def test_gauge_is_set_and_moved():
    queue = bm.gauge("queue")
    queue.add(5)
    queue.add(-2)
    assert value("queue").sum == 3
    queue.set(0.5)
    assert value("queue") == Value.of(0.5)


def test_histogram_knows_sum_and_range():
    sizes = bm.histogram("size", unit="bytes")
    for size in (0, 1, 1000.5, -3):
        sizes.observe(size)
    found = value("size")
    assert (found.count, found.sum, found.min, found.max) == (4, 998.5, -3, 1000.5)


def test_timer_observes_blocks_that_return_and_that_raise():
    query = bm.histogram("query", unit="seconds")
    with query.time():
        pass
    with pytest.raises(ZeroDivisionError), query.labels(table="users").time():
        raise ZeroDivisionError
    assert value("query", table="users").count == 1
    assert value("query").count == 2
    assert 0 <= value("query").max < 60


@pytest.mark.parametrize("number", [np.int8(100), np.float32(100), Decimal(100), True + 99])
def test_numbers_of_other_types_count_as_plain_ones(number):
    bm.counter("rows").add(number)
    bm.counter("rows").add(number)  # an int8 would be -56 now
    bm.gauge("queue").set(number)
    bm.histogram("size").observe(number)
    assert value("rows").sum == 200
    for name in ("rows", "queue", "size"):
        assert type(value(name).sum) in (int, float)


@pytest.mark.parametrize("wrong", ["7", None, [1], np.array([1, 2])])
def test_what_is_no_number_is_refused(wrong):
    for use in (bm.counter("rows").add, bm.gauge("queue").set, bm.histogram("size").observe):
        with pytest.raises(bm.UsageError, match="takes a number"):
            use(wrong)


def test_counter_does_not_fall():
    with pytest.raises(bm.UsageError, match="use a gauge"):
        bm.counter("rows").add(-1)


def test_number_that_is_not_finite_is_told_once_and_not_counted(caplog):
    for number in (math.nan, math.inf, math.nan):
        bm.counter("rows").add(number)
        bm.histogram("loss").observe(number)
    assert value("rows").sum == value("loss").count == 0
    assert sorted(record.args[:2] for record in caplog.records) == [
        ("counter", "rows"),
        ("counter", "rows"),
        ("histogram", "loss"),
        ("histogram", "loss"),
    ]


def test_gauge_may_be_nan_and_is_then_neither_least_nor_greatest():
    bm.gauge("loss").set(math.nan)
    found = value("loss")
    assert math.isnan(found.sum)
    assert found.min > found.max


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("rows.read", "'rows_read'"),
        ("rows read", "'rows_read'"),
        ("9lives", "'n_9lives'"),
        ("", "'rows'"),
        ("zeilen_größe", "'zeilen_gr_e'"),
        ("job:rows:sum", "'job_rows_sum'"),
        ("rows\n", "'rows'"),
        ("rows_total", "'rows'"),
        ("bigmachine_rows", "the library's own"),
        (7, "not 7"),
    ],
)
def test_name_that_prometheus_would_not_take_is_refused_with_advice(name, advice):
    with pytest.raises(bm.UsageError) as refusal:
        bm.counter(name)
    assert advice in str(refusal.value)


@pytest.mark.parametrize(
    "labels", [{"machine": 1}, {"le": 1}, {"quantile": 1}, {"__a": 1}, {"a-b": 1}, {"größe": 1}]
)
def test_label_that_prometheus_would_not_take_is_refused(labels):
    with pytest.raises(bm.UsageError, match=f"label.*{next(iter(labels))}"):
        bm.counter("rows").labels(**labels)


def test_one_name_has_one_kind_and_one_unit():
    bm.counter("rows")
    with pytest.raises(bm.UsageError, match="'rows' is a counter already, so it can't be a gauge"):
        bm.gauge("rows")
    bm.histogram("query", unit="seconds")
    bm.histogram("query")
    with pytest.raises(bm.UsageError, match="in seconds already"):
        bm.histogram("query", unit="bytes")
    with pytest.raises(bm.UsageError, match="a unit is a word"):
        bm.histogram("other", unit="MB/s")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: bm.histogram("size"), lambda: bm.gauge("size_count")),
        (lambda: bm.gauge("rows_total"), lambda: bm.counter("rows")),
        (lambda: bm.gauge("query_seconds"), lambda: bm.histogram("query", unit="seconds")),
        (
            lambda: (bm.gauge("query_seconds"), bm.histogram("query")),
            lambda: bm.histogram("query", unit="seconds"),
        ),
    ],
)
def test_names_that_would_be_the_same_for_prometheus_are_refused(first, second):
    first()
    for _ in range(2):  # nothing is left of the first attempt
        with pytest.raises(bm.UsageError, match="would both be called"):
            second()


def test_description_may_come_later():
    rows = bm.counter("rows")
    bm.counter("rows", help="Rows read", unit="rows")
    metric = registered(module.REGISTRY)["rows"]
    assert (metric.help, metric.unit) == ("Rows read", "rows")
    assert bm.counter("rows") is rows


# -- labels ---------------------------------------------------------------------------------------


def test_order_and_types_of_labels_do_not_matter():
    rows = bm.counter("rows")
    assert rows.labels(a=1, b="x") is rows.labels(b="x", a="1") is rows.labels(a="1").labels(b="x")
    assert rows.labels(a=True) is not rows.labels(a=1)


def test_labels_of_unhashable_values_work():
    bm.counter("rows").labels(shape=[1, 2]).add()
    assert value("rows", shape="[1, 2]").sum == 1


def test_long_label_is_cut_and_odd_characters_survive():
    rows = bm.counter("rows")
    rows.labels(path="x" * 10_000).add()
    rows.labels(path="\udcff").add()
    long, odd = (series.labels["path"] for series in registered(module.REGISTRY)["rows"].series)
    assert len(long) == 256
    assert odd == "\\udcff"


def test_handler_of_log_may_count_in_another_thread():
    rows = bm.counter("rows")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            thread = threading.Thread(target=lambda: rows.labels(user="new").add())
            thread.start()
            thread.join(60)
            assert not thread.is_alive()

    handler = Handler()
    logging.getLogger("bigmachine.metrics").addHandler(handler)
    try:
        for i in range(MAX_SERIES + 1):
            rows.labels(user=f"{i}").add()
    finally:
        logging.getLogger("bigmachine.metrics").removeHandler(handler)
    assert value("rows", **dict(OVERFLOW)).sum == 2


def test_labels_that_are_the_same_when_cut_take_no_memory_each():
    rows = bm.counter("rows")
    for i in range(100):
        rows.labels(path="x" * 1000 + str(i)).add()
    assert value("rows").sum == 100
    assert len(rows._family.series) + len(rows._family.given) <= 3


def test_too_many_labels_are_counted_together_and_told_once(caplog):
    rows = bm.counter("rows")
    for i in range(MAX_SERIES + 500):
        rows.labels(user=f"{i}").add()
    assert len(registered(module.REGISTRY)["rows"].series) == MAX_SERIES + 1
    assert value("rows", **dict(OVERFLOW)).sum == 500
    assert value("rows").sum == MAX_SERIES + 500
    [record] = caplog.records
    assert "1000 sets of labels" in record.getMessage()


def test_too_many_names_are_told_once_and_work(caplog, registry):
    for i in range(MAX_NAMES + 5):
        bm.counter(f"rows_{i}").add()
    assert len(registry.families()) == MAX_NAMES
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_metric_with_labels_only_shows_no_other_series():
    bm.counter("rows").labels(table="users")
    bm.counter("errors")
    shown = registered(module.REGISTRY)
    assert [series.labels for series in shown["rows"].series] == [{"table": "users"}]
    assert shown["errors"].sum == 0


# -- between processes ----------------------------------------------------------------------------


def test_instrument_travels_by_name(monkeypatch, registry):
    rows = bm.counter("rows", help="Rows", unit="rows").labels(table="users")
    assert copy.deepcopy(rows) is rows
    pickled = pickle.dumps(rows)
    assert pickle.loads(pickled) is rows
    monkeypatch.setattr(module, "REGISTRY", Registry())  # as on a machine
    there = pickle.loads(pickled)
    assert there is bm.counter("rows").labels(table="users")
    assert registered(module.REGISTRY)["rows"].unit == "rows"


def use_all(counter: Counter, gauge: Gauge, histogram: Histogram) -> None:
    counter.labels(table="users").add(3)
    gauge.add(2)
    histogram.observe(4)


def test_what_another_process_took_is_added(monkeypatch):
    here = Registry()
    for _ in range(2):
        use_all(bm.counter("rows"), bm.gauge("queue"), bm.histogram("size", unit="bytes"))
        here.absorb(pickle.loads(pickle.dumps(module.REGISTRY.take())))
    assert module.REGISTRY.take() == []
    monkeypatch.setattr(module, "REGISTRY", here)
    assert value("rows", table="users").sum == 6
    assert value("queue").sum == 4
    assert (value("size").count, value("size").sum) == (2, 8)
    bm.gauge("queue").set(100)


def test_gauge_that_another_process_set_is_set(monkeypatch):
    here = Registry()
    here.instrument(Gauge, "queue").set(50)
    bm.gauge("queue").set(10)
    bm.gauge("queue").add(1)
    here.absorb(module.REGISTRY.take())
    bm.gauge("queue").add(5)  # which is from 11 now, and nowhere set
    here.absorb(module.REGISTRY.take())
    monkeypatch.setattr(module, "REGISTRY", here)
    assert value("queue").sum == 16


def test_values_of_another_kind_in_another_process_are_told_and_lost(caplog):
    here = Registry()
    here.instrument(Gauge, "rows").set(1)
    bm.counter("rows").add(5)
    bm.counter("other").add(5)
    here.absorb(module.REGISTRY.take())
    assert {name: metric.sum for name, metric in registered(here).items()} == {
        "rows": 1,
        "other": 5,
    }
    assert "'rows' is a gauge already" in caplog.text


def test_signal_or_finalizer_may_count_while_its_thread_counts(registry):
    rows = bm.counter("rows")
    counted = threading.Event()

    def count() -> None:  # as it is when a handler runs in the middle of `add`
        with rows._lock, rows._family.lock, registry._lock:
            rows.labels(table="new").add()
            bm.counter("new").add()
            rows.add()
        counted.set()

    threading.Thread(target=count, daemon=True).start()
    assert counted.wait(60)
    assert value("rows").sum == 2


def test_forked_process_is_not_stuck_on_locks(registry):
    rows = bm.counter("rows")
    held, name = threading.Event(), registry.process

    def hold() -> None:  # as a thread that was just counting when the process forked
        rows._lock.acquire()
        registry._lock.acquire()
        held.set()

    threading.Thread(target=hold).start()
    held.wait()
    registry.after_fork()
    rows.add(1)
    bm.counter("new").add(1)
    assert value("rows").sum == 1
    assert registry.process != name
