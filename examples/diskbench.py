"""Measure the disks of machines: ``python examples/diskbench.py``.

Each machine writes a file to its temporary folder, or to another one, and reads it back. All
machines do so at once: machines of one computer share its disk. In a cloud, the temporary folder
is on the data disk, if there is one::

    python examples/diskbench.py --system ec2 -o data_disk=200

This measures disks, not memory: what is written is waited for, and what is read was dropped from
the page cache before. A folder in memory, as /tmp on some systems, is as fast as memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

import bigmachine as bm

BLOCK_BYTES = 1 << 20
MIB = 1 << 20


@dataclass(frozen=True)
class Throughput:
    """What one machine has measured, in bytes per second."""

    folder: str
    write: float
    read: float


class Disk:
    """The service."""

    def measure(self, size_bytes: int, folder: str | None) -> Throughput:
        """Write a file of ``size_bytes`` to ``folder``, read it back, and delete it."""
        # Disks that compress would make little of zeros.
        block = memoryview(os.urandom(BLOCK_BYTES))
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            began = time.perf_counter()
            for at in range(0, size_bytes, BLOCK_BYTES):
                _write_all(file.fileno(), block[: size_bytes - at])
            os.fsync(file.fileno())
            written = time.perf_counter()
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            buffer = bytearray(BLOCK_BYTES)
            began_reading = time.perf_counter()
            while file.readinto(buffer):
                pass
            read = time.perf_counter()
        return Throughput(
            folder or tempfile.gettempdir(),
            write=size_bytes / (written - began),
            read=size_bytes / (read - began_reading),
        )


def _write_all(number: int, data: memoryview) -> None:
    while data:
        data = data[os.write(number, data) :]


def table(results: dict[str, Throughput | Exception]) -> str:
    """Return one line a machine, the slowest writer first, and a line for all of them."""
    measured = {name: one for name, one in results.items() if isinstance(one, Throughput)}
    lines = [f"{'machine':8} {'write MB/s':>11} {'read MB/s':>11}  folder"]
    for name, one in sorted(measured.items(), key=lambda item: item[1].write):
        lines.append(f"{name:8} {one.write / 1e6:11,.0f} {one.read / 1e6:11,.0f}  {one.folder}")
    for name, error in results.items():
        if isinstance(error, Exception):
            lines.append(f"{name:8} failed: {error}")
    if len(measured) > 1:
        write = sum(one.write for one in measured.values())
        read = sum(one.read for one in measured.values())
        lines.append(f"{'total':8} {write / 1e6:11,.0f} {read / 1e6:11,.0f}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description="Measure the disks of machines.")
    add = parser.add_argument
    add("--machines", type=int, default=2, metavar="N", help="default 2")
    add("--size", type=int, default=256, metavar="MIB", help="of each file; default 256 MiB")
    add("--folder", help="on the machines; by default their temporary folder")
    add("--system", default="local", help="default local; `bigmachine systems` lists them")
    add("-o", dest="options", type=_option, action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args(argv)
    if arguments.size < 1:
        parser.error("--size is 1 or more")
    results: dict[str, Throughput | Exception] = {}
    try:
        with bm.Session(arguments.system, **dict(arguments.options)) as session:
            machines = session.start(arguments.machines, services={"Disk": Disk()})
            futures = {
                machine.name: machine.submit("Disk.measure", arguments.size * MIB, arguments.folder)
                for machine in machines
            }
            for name, future in futures.items():
                try:
                    results[name] = future.result()
                except (OSError, bm.BigmachineError) as exc:  # the disk is full; no such folder
                    results[name] = exc
    except bm.BigmachineError as exc:
        print(f"diskbench: {exc}", file=sys.stderr)
        return 2
    print(table(results))
    return int(any(isinstance(one, Exception) for one in results.values()))


def _option(text: str) -> tuple[str, object]:
    """Parse ``key=value``, the value as in bigmachine.toml; a string needs no quotes."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, not {text!r}")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


if __name__ == "__main__":
    sys.exit(main())
