"""The platform that an environment is for: operating system, processor and Python version."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass

from ..errors import UsageError

_SYSTEMS = {"darwin": "macos", "win32": "windows"}
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}  # two naming schemes
_FORM = re.compile(r"(linux|macos|windows)/(\w+)/py(3\.\d+)")

# The values of uv's `--python-platform`. Its `linux-gnu` means manylinux_2_28: glibc of 2018.
_UV_PLATFORMS = {
    "linux/x86_64": "x86_64-unknown-linux-gnu",
    "linux/aarch64": "aarch64-unknown-linux-gnu",
    "linux/riscv64": "riscv64-unknown-linux",
    "macos/x86_64": "x86_64-apple-darwin",
    "macos/aarch64": "aarch64-apple-darwin",
    "windows/x86_64": "x86_64-pc-windows-msvc",
    "windows/aarch64": "aarch64-pc-windows-msvc",
}
_NEWEST_GLIBC = 28  # the minor version that uv assumes; pip must be given all up to it
_NEWEST_MACOS = 13  # likewise


@dataclass(frozen=True, slots=True)
class Target:
    """A platform that an environment can be built for.

    ``system`` is ``"linux"``, ``"macos"`` or ``"windows"``, ``machine`` the processor
    (``"x86_64"``, ``"aarch64"``) and ``python`` the minor version (``"3.11"``).
    """

    system: str
    machine: str
    python: str

    @classmethod
    def here(cls) -> Target:
        """Return the platform of this process."""
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return cls.of(sys.platform, platform.machine(), python)

    @classmethod
    def of(cls, system: str, machine: str, python: str) -> Target:
        """Return it from the values of `sys.platform` and `platform.machine`."""
        machine = machine.lower()
        return cls(_SYSTEMS.get(system, system), _MACHINES.get(machine, machine), python)

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse ``"linux/x86_64/py3.11"``; raises `UsageError` for any other form."""
        match = _FORM.fullmatch(text)
        if match:
            machine = _MACHINES.get(match[2], match[2])
            if f"{match[1]}/{machine}" in _UV_PLATFORMS:
                return cls(system=match[1], machine=machine, python=match[3])
        known = ", ".join(_UV_PLATFORMS)
        raise UsageError(
            f"{text!r} is not a target such as linux/x86_64/py3.11; known platforms: {known}"
        )

    @property
    def platform(self) -> str:
        """The target without its Python: ``"linux/x86_64"``."""
        return f"{self.system}/{self.machine}"

    @property
    def uv_platform(self) -> str:
        """The platform as a value of uv's ``--python-platform``."""
        return _UV_PLATFORMS[self.platform]

    @property
    def pip_platforms(self) -> list[str]:
        """The platform as values of pip's ``--platform``: every tag that a wheel may have."""
        if self.system == "linux":
            old = ["manylinux1", "manylinux2010"] if self.machine == "x86_64" else []
            new = [f"manylinux_2_{minor}" for minor in range(5, _NEWEST_GLIBC + 1)]
            return [f"{tag}_{self.machine}" for tag in [*old, "manylinux2014", *new, "linux"]]
        if self.system == "macos":
            machine = "arm64" if self.machine == "aarch64" else self.machine
            versions = [f"10_{minor}" for minor in range(9, 16)]
            versions += [f"{major}_0" for major in range(11, _NEWEST_MACOS + 1)]
            return [f"macosx_{v}_{kind}" for v in versions for kind in (machine, "universal2")]
        return ["win_arm64" if self.machine == "aarch64" else "win_amd64"]

    def __str__(self) -> str:
        return f"{self.platform}/py{self.python}"
