"""The options that the systems of all clouds have, with the same names, meanings and checks."""

from __future__ import annotations

from dataclasses import dataclass

from ..._values import Keepalive
from .._options import option

_DAY = 86_400.0
_LONGEST_LIFETIME = 120 * _DAY  # what GCE allows for maxRunDuration; nobody forgets one for longer
_PERIOD, _RPC_TIMEOUT = 60.0, 10.0


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """Base of the options of a system whose machines are VMs that cost money.

    Core does all that is meant by ``max_session_cost`` and ``idle_timeout``. The system passes
    ``lifetime`` and ``immortal`` to `bigmachine.boot.user_data`, and returns `keepalive` from its
    hook of that name. Before anything is purchased it checks the options:
    ``check_options(o, **o.problems(), region=None if o.region else "must not be empty")``, where
    `problems` gets the system's ``boot_timeout`` if that is not the usual one::

        @dataclass(frozen=True, slots=True)
        class MyOptions(CloudOptions):
            region: str = option("", help="The region.")
    """

    max_session_cost: float | None = option(
        None,
        help="The most that a session may cost, in US dollars. All its machines are stopped "
        "before it would cost more.",
        other_names=("max_cost", "budget"),
    )
    idle_timeout: float | None = option(
        None,
        help="Seconds after which all machines of an idle session are stopped; None means never.",
        minimum=60,
        other_names=("idle_minutes", "autostop", "auto_stop"),
    )
    lifetime: float | None = option(
        None,
        help="The most that an instance runs, in seconds after its boot; at least the time that "
        "the boot may take, which is 600 for most instances.",
        maximum=_LONGEST_LIFETIME,
        other_names=("max_run_duration", "max_lifetime", "ttl"),
    )
    immortal: bool = option(
        False,
        help="For debugging: whether instances outlive the session. They are billed until you "
        "reap them, or their lifetime ends, which must be set, too.",
    )
    keepalive_timeout: float = option(
        120.0,
        help="Seconds after which a machine that does not answer is stopped, and a machine whose "
        "driver is silent ends itself.",
        minimum=10,
        maximum=_DAY,
    )
    keepalive_period: float | None = option(
        None,
        help="Seconds between keepalives; by default half the timeout, at most 60.",
        minimum=1,
    )
    rpc_timeout: float | None = option(
        None,
        help="Seconds that the answer to a keepalive may take; by default a quarter of the "
        "timeout, at most 10.",
        minimum=1,
    )

    def keepalive(self) -> Keepalive:
        """Return the timings of keepalives."""
        timeout = self.keepalive_timeout
        period, rpc_timeout = self.keepalive_period, self.rpc_timeout
        return Keepalive(
            period=min(timeout / 2, _PERIOD) if period is None else period,
            timeout=timeout,
            rpc_timeout=min(timeout / 4, _RPC_TIMEOUT) if rpc_timeout is None else rpc_timeout,
        )

    def problems(self, *, boot_timeout: float = 600.0) -> dict[str, str | None]:
        """Return what is wrong, by option, for `check_options`; None where nothing is.

        ``boot_timeout`` is the system's: an instance must not end while the driver waits for it.
        """
        return {
            "max_session_cost": None
            if self.max_session_cost is None or self.max_session_cost > 0
            else "must be more than 0 US dollars",
            "lifetime": None
            if self.lifetime is None or self.lifetime >= boot_timeout
            else f"must be at least {boot_timeout:g} seconds, which an instance may take to boot",
            "immortal": "needs lifetime, so that a forgotten instance ends: add lifetime=3600.0, "
            "for example, which is an hour after its boot"
            if self.immortal and self.lifetime is None
            else None,
            "keepalive_timeout": self._keepalive_problem(),
        }

    def _keepalive_problem(self) -> str | None:
        timings = self.keepalive()
        least = timings.period + timings.rpc_timeout
        if timings.timeout >= least:
            return None
        return (
            "must leave time for one keepalive and its answer: at least "
            f"{least:g} (keepalive_period {timings.period:g} + rpc_timeout "
            f"{timings.rpc_timeout:g}), not {timings.timeout:g}"
        )
