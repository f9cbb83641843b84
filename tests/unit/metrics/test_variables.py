"""Metrics of several machines are merged, read back from plain data, and given to Prometheus."""

from __future__ import annotations

import json
import math
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import bigmachine as bm
from bigmachine.errors import ProtocolError
from bigmachine.metrics import Metric, Series, SessionVariables, Value, Variables
from bigmachine.metrics._buckets import bucket_of, bucket_up_to, upper_bound
from bigmachine.metrics._instruments import Counter, Gauge, Histogram
from bigmachine.metrics._registry import Registry
from bigmachine.metrics._variables import measured, merge, registered


def machine(process: str, *, rows: int = 0, queue: float | None = None, sizes=()) -> Variables:
    registry = Registry()
    registry.instrument(Counter, "rows", help='Rows of "all" \\ tables\n').labels(t="a").add(rows)
    gauge = registry.instrument(Gauge, "queue")
    if queue is not None:
        gauge.set(queue)
    for size in sizes:
        registry.instrument(Histogram, "size", unit="bytes").observe(size)
    own = measured("bigmachine_memory_total_bytes", "gauge", 100, help="", scope="host")
    uptime = measured("bigmachine_uptime_seconds", "gauge", 7, help="", scope="machine")
    metrics = {**registered(registry), own.name: own, uptime.name: uptime}
    return Variables(metrics, scopes={"process": process, "host": "h"})


def test_counters_are_summed_gauges_compared_and_histograms_merged():
    all_of_them = merge(
        [machine("1", rows=5, queue=1, sizes=[1, 2]), machine("2", rows=7, queue=9, sizes=[1000])]
    )
    assert all_of_them["rows"].sum == 12
    assert all_of_them["rows"].by("t")["a"].max == 7
    queue = all_of_them["queue"]
    assert (queue.sum, queue.min, queue.max, queue.mean) == (10, 1, 9, 5)
    size = all_of_them["size"]
    assert (size.count, size.sum, size.min, size.max) == (3, 1003, 1, 1000)
    assert size.quantile(1) == 1000


def test_what_was_never_set_counts_for_nothing():
    queue = merge([machine("1", queue=3), machine("2")])["queue"]
    assert (queue.sum, queue.min, queue.count) == (3, 3, 1)


def test_what_machines_share_is_counted_once():
    same, other = machine("1", rows=5), machine("2", rows=7)
    all_of_them = merge([same, same, other])
    assert all_of_them["rows"].sum == 12  # two processes
    assert all_of_them["bigmachine_memory_total_bytes"].sum == 100  # one host
    assert all_of_them["bigmachine_uptime_seconds"].sum == 21  # three machines


def test_machines_of_one_host_may_measure_different_devices_of_it():
    def gpus(host: str, *devices: str) -> Variables:
        name = "bigmachine_gpu_memory_used_bytes"
        series = tuple(Series({"device": device}, Value.of(100)) for device in devices)
        return Variables({name: Metric(name, "gauge", series, scope="host")}, scopes={"host": host})

    all_of_them = merge([gpus("h", "0"), gpus("h", "1"), gpus("h", "0", "1"), gpus("other", "0")])
    used = all_of_them["bigmachine_gpu_memory_used_bytes"]
    assert {device: one.sum for device, one in used.by("device").items()} == {"0": 200, "1": 100}


def test_metric_of_another_kind_elsewhere_is_left_out():
    other = Variables({"rows": measured("rows", "gauge", 1000, help="")})
    merged = merge([machine("1", rows=5), other])
    assert (merged["rows"].kind, merged["rows"].sum) == ("counter", 5)
    text = SessionVariables({"m0": machine("1", rows=5), "m1": other}, Variables({}), {})
    assert "1000" not in text.openmetrics()


def test_merged_are_machines_and_what_the_driver_counted_itself():
    values = SessionVariables({"m0": machine("1", rows=5)}, machine("driver", rows=1), {})
    assert values["rows"].sum == 6
    assert values["bigmachine_uptime_seconds"].sum == 7


@pytest.mark.parametrize("seed", range(4))
def test_quantiles_are_within_19_percent(seed):
    rng = random.Random(seed)
    values = [rng.lognormvariate(0, 4) for _ in range(2000)]
    half = len(values) // 2
    size = merge([machine("1", sizes=values[:half]), machine("2", sizes=values[half:])])["size"]
    values.sort()
    for q in (0.01, 0.5, 0.9, 0.99, 0.999):
        exact = values[math.ceil(q * len(values)) - 1]
        assert exact / 1.19 <= size.quantile(q) <= exact * 1.19
    assert size.quantile(0) == values[0]
    assert size.quantile(1) == values[-1]


def test_quantile_of_equal_values_is_exact_and_of_none_is_nan():
    assert machine("1", sizes=[7] * 10)["size"].quantile(0.5) == 7
    assert machine("1", sizes=[0, 0])["size"].quantile(0.5) == 0
    assert math.isnan(machine("1", sizes=[7])["size"].select(no="such").quantile(0.5))


def test_unknown_name_is_a_key_error_with_advice():
    values = SessionVariables({"m0": machine("1")}, Variables({}), {})
    with pytest.raises(KeyError, match="a metric 'row' so far; did you mean 'rows'?"):
        values["row"]
    assert values.get("row") is None
    assert "row" not in values


def test_only_histograms_have_quantiles():
    with pytest.raises(bm.UsageError, match="'rows' is a counter"):
        machine("1")["rows"].quantile(0.5)
    with pytest.raises(bm.UsageError, match="from 0 to 1"):
        machine("1", sizes=[1])["size"].quantile(99)


@given(st.floats(min_value=0, max_value=sys.float_info.max) | st.integers(-9, 2**70))
def test_bucket_of_each_number_ends_at_its_bound(number):
    bucket = bucket_of(number)
    assert number <= upper_bound(bucket) * (1 + 1e-12)  # its logarithm is rounded
    assert bucket_up_to(upper_bound(bucket)) == bucket


def test_plain_data_is_json_and_reads_back():
    values = machine("1", rows=2**60, queue=math.inf, sizes=[0, 5e-324, 1, 1e9, 1.7e308])
    data = json.loads(json.dumps(values.to_dict(), allow_nan=False))
    assert Variables.from_dict(data) == values
    assert data["metrics"]["queue"]["series"][0]["sum"] == "+Inf"
    assert set(data["metrics"]["size"]["series"][0]["quantiles"]) == {"0.5", "0.9", "0.99"}
    data["version"] = 99
    with pytest.raises(ProtocolError, match="version 99"):
        Variables.from_dict(data)


def test_text_is_read_by_prometheus():
    values = SessionVariables(
        {
            "m0": machine("1", rows=5, queue=math.nan, sizes=[0, 100, 1e15]),
            'm"1\\': machine("2", rows=7, queue=3),
        },
        machine("driver", rows=1),
        {"m2": "it did not answer"},
    )
    families = {one.name: one for one in text_string_to_metric_families(values.openmetrics())}
    rows = families["rows"]
    assert (rows.type, rows.documentation) == ("counter", 'Rows of "all" \\ tables\n')
    assert [(s.name, s.labels, s.value) for s in rows.samples] == [
        ("rows_total", {"machine": "m0", "t": "a"}, 5),
        ("rows_total", {"machine": 'm"1\\', "t": "a"}, 7),
        ("rows_total", {"machine": "driver", "t": "a"}, 1),
    ]
    assert [s.value for s in families["queue"].samples][1:] == [3]
    size = families["size_bytes"]
    assert (size.type, size.unit) == ("histogram", "bytes")
    buckets = {s.labels["le"]: s.value for s in size.samples if s.name.endswith("_bucket")}
    assert (buckets["64.0"], buckets["256.0"], buckets["+Inf"]) == (1, 2, 3)
    up = {s.labels["machine"]: s.value for s in families["bigmachine_up"].samples}
    assert up == {"m0": 1, 'm"1\\': 1, "driver": 1, "m2": 0}


def test_text_is_valid_if_two_machines_use_one_name_for_two_things():
    query = Registry()
    query.instrument(Histogram, "query", unit="seconds").observe(1)
    values = SessionVariables(
        {
            "m0": Variables({"query_seconds": measured("query_seconds", "gauge", 3, help="")}),
            "m1": Variables(registered(query)),
        },
        Variables({}),
        {},
    )
    families = {one.name: one for one in text_string_to_metric_families(values.openmetrics())}
    assert [s.value for s in families["query_seconds"].samples] == [3]


@pytest.mark.parametrize("kind", [Counter, Gauge, Histogram])
def test_text_of_unusual_names_is_read_by_prometheus(kind):
    registry = Registry()
    names = [
        "a_total",
        "a_created",
        "a_info",
        "a_bucket",
        "a_count",
        "a_sum",
        "a_gsum",
        "seconds",
        "_",
    ]
    names.remove("a_total" if kind is Counter else "_")
    for name in names:
        unit = "seconds" if name == "seconds" else ""
        one = registry.instrument(kind, name, unit=unit).labels(_a="")
        (one.observe if kind is Histogram else one.add)(1)
    values = SessionVariables({"m0": Variables(registered(registry))}, Variables({}), {})
    families = [*text_string_to_metric_families(values.openmetrics())]
    assert len(families) == 1 + len(names)  # and bigmachine_up


def test_text_with_negative_values_is_read_by_prometheus():
    values = SessionVariables({"m0": machine("1", sizes=[-5, 100])}, Variables({}), {})
    families = {one.name: one for one in text_string_to_metric_families(values.openmetrics())}
    size = families["size_bytes"]
    assert {s.name for s in size.samples} == {"size_bytes_bucket"}  # without a sum that may fall
    assert [s.value for s in size.samples if s.labels["le"] == "+Inf"] == [2]


def test_printed_metrics_are_a_table_for_people():
    two = [machine("1", rows=1200, queue=1, sizes=[2048]), machine("2", rows=7, queue=1.5)]
    values = SessionVariables({"m0": two[0], "m1": two[1]}, driver=Variables({}), missing={})
    first, *lines = str(values).splitlines()
    assert first == "2 machines"
    table = {name: (kind, text) for name, kind, text in (line.split(maxsplit=2) for line in lines)}
    assert table["rows"] == ("counter", "1,207")
    assert table["queue"] == ("gauge", "2.5, each 1 to 1.5")
    assert table["size"] == ("histogram", "1 value, median 2.0 KiB, largest 2.0 KiB")
    assert table["bigmachine_memory_total_bytes"] == ("gauge", "100 B")
    assert repr(values).startswith("<SessionVariables of 2 machines: rows, ")
    assert "no value" in str(machine("1"))


def test_notebook_shows_what_print_shows():
    pretty = pytest.importorskip("IPython.lib.pretty").pretty
    values = machine("1", rows=5)
    assert pretty(values) == str(values)
    assert pretty([values]) == f"[{values!r}]"
