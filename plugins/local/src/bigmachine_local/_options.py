"""The options of the ``local`` system."""

from __future__ import annotations

from dataclasses import dataclass

from bigmachine import option

MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """Options of the ``local`` system."""

    maxprocs: int = option(1, help="Number of processors of each machine.", minimum=1)
    host: str = option("127.0.0.1", help="Address that the machines listen on.")
    port: int = option(
        0,
        help="Port of the first machine; others use the next ports. 0 is any free port.",
        minimum=0,
        maximum=MAX_PORT,
    )
    gpus: int | None = option(
        None,
        help="Number of GPUs of each machine, which no other machine gets. By default, each "
        "machine sees all that the driver sees.",
        minimum=0,
    )
    fork: bool | None = option(
        None, help="Whether to fork machines from a prepared process; only on Linux."
    )
    keepalive_timeout: float = option(
        20.0, help="Seconds after which a machine that does not answer is stopped.", minimum=1
    )
