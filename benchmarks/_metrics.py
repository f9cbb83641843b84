"""What is measured, in which unit, and what section 11 of the design asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One column of a table."""

    key: str
    title: str
    unit: str
    better: Literal["less", "more"] = "less"
    limit: float | None = None  # a measurement stops here, so the truth may be anything above
    floor: str = ""  # the metric of the floor that it is compared with; by default, the same

    @property
    def sign(self) -> str:
        """How a good value compares with a bound."""
        return "≤" if self.better == "less" else "≥"

    @property
    def follows_speed(self) -> bool:
        """Whether a faster computer has a better value: true of times and rates."""
        return self.unit in ("s", "ms", "µs", "/s", "MB/s")

    def is_within(self, value: float, bound: float) -> bool:
        return value <= bound if self.better == "less" else value >= bound

    def format(self, value: float) -> str:
        """Write a value in at most 7 characters, with three significant digits."""
        if self.limit is not None and value >= self.limit:
            return f">{self.limit:g}"
        if value >= 10_000:
            return f"{value / 1000:.3g}k"
        if value >= 100:
            return f"{value:,.0f}"
        return f"{value:.3g}" if value >= 0.1 else f"{value:.3f}"


@dataclass(frozen=True, slots=True)
class Target:
    """What bigmachine must reach: `bound` in the metric's unit, or times others' best."""

    metric: str
    bound: float = 1.0
    against: tuple[str, ...] = ()  # contestants in the same round; none: `bound` is absolute
    of: str = "bigmachine-sync"


# Before a metric's key: what the floor reached in turns with a contestant, in its driver.
FLOOR = "floor."
TRIO = "bigmachine-trio"
FAILURE_LIMIT = 5.0  # seconds; after that, a failure counts as not detected

METRICS = (
    Metric("null_p50_us", "null call, median", "µs"),
    Metric("null_one_core_us", "null call, on one core", "µs"),
    Metric("null_two_cores_us", "null call, on a core each", "µs"),
    Metric("null_p99_us", "null call, 99th percentile", "µs"),
    Metric("null_cpu_us", "CPU time per call, both ends", "µs"),
    Metric("calls_per_s", "calls/s, 64 in flight", "/s", "more"),
    Metric(
        "calls_in_threads_per_s", "calls/s, 64 in flight, `def`", "/s", "more", floor="calls_per_s"
    ),
    Metric("submits_per_s", "submit, 100,000 pending", "/s", "more", floor="calls_per_s"),
    Metric("pending_kb", "pending call, driver's memory", "kB"),
    Metric("items_down_per_s", "streamed items, from machine", "/s", "more", floor="calls_per_s"),
    Metric("items_up_per_s", "streamed items, to machine", "/s", "more", floor="calls_per_s"),
    Metric("upload_mb_s", "64 MiB array to the machine", "MB/s", "more"),
    Metric("download_mb_s", "64 MiB array back", "MB/s", "more"),
    Metric("state_s", "512 MiB of state, 4 machines", "s"),
    Metric("state_peak_times", "the same, driver's peak", "×"),
    Metric("loaded_p99_ms", "null p99 during transfers", "ms", floor="null_one_core_us"),
    Metric("busy_p99_ms", "null p99, machine computes", "ms", floor="null_one_core_us"),
    Metric("parallel_times", "@bm.parallel, 2 processes", "×", "more"),
    Metric("cold_start_s", "cold start of 1 machine", "s"),
    Metric("start_more_ms", "20 more machines, each", "ms"),
    Metric("failure_ms", "machine killed, call failed", "ms", limit=FAILURE_LIMIT * 1e3),
    Metric("orphans_s", "driver killed, machines gone", "s", limit=FAILURE_LIMIT),
    Metric("idle_mb", "idle machine, unshared memory", "MB"),
    Metric("driver_kb", "driver, for each of 1,000", "kB"),
    Metric("import_s", "import", "s"),
)
BY_KEY = {metric.key: metric for metric in METRICS}

TARGETS = (
    Target("null_p50_us", 2.0, ("baseline",)),
    Target("null_one_core_us", 2.6, ("baseline",)),
    Target("null_p50_us", 0.33, ("rpyc", "grpc", "dask", "ray")),
    Target("null_p50_us", 1.0, ("loky",)),
    Target("null_p50_us", 3.0, ("baseline",), of=TRIO),
    Target("null_p50_us", 1.0, ("rpyc", "grpc", "dask", "ray"), of=TRIO),
    Target("null_cpu_us", 130.0, of=TRIO),
    Target("calls_per_s", 20_000),
    Target("calls_per_s", 50_000, of=TRIO),
    Target("calls_in_threads_per_s", 20_000, of=TRIO),
    Target("submits_per_s", 20_000),
    Target("pending_kb", 4.0),
    Target("items_down_per_s", 50_000),
    Target("items_up_per_s", 50_000),
    Target("upload_mb_s", 0.9, ("baseline",), of=TRIO),
    Target("download_mb_s", 0.9, ("baseline",), of=TRIO),
    Target("upload_mb_s", 3_000),
    Target("download_mb_s", 3_000),
    Target("state_s", 2.0),
    Target("state_peak_times", 1.2),
    Target("loaded_p99_ms", 15.0, of=TRIO),
    Target("busy_p99_ms", 5.0),
    Target("parallel_times", 1.8),
    Target("cold_start_s", 0.35),
    Target("start_more_ms", 10.0),
    Target("start_more_ms", 1.5, ("forkserver",)),
    Target("orphans_s", 1.0),
    Target("idle_mb", 30.0),
    Target("driver_kb", 100.0, of=TRIO),
    Target("import_s", 0.2),
)
