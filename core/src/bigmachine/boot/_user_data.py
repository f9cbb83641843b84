"""What a cloud's user data carries: the boot program, whole, with a boot credential."""

from __future__ import annotations

import ast
import functools
import gzip
import importlib.resources
import io
import json
import math
import tokenize
from typing import TYPE_CHECKING, Literal

from ..errors import UsageError

if TYPE_CHECKING:
    from ..system._request import LaunchRequest

Form = Literal["cloud-init", "script"]

PORT = 7443
"""Where machines listen, if the backend doesn't say otherwise."""

_POWEROFF = (("systemctl", "poweroff"), ("poweroff", "-f"), ("halt", "-f", "-p"))
_ASIDE = "</dev/null >/dev/null 2>&1 &"
_MORTAL = "It powers itself off once its driver is gone."
_IMMORTAL = "It stays on though its driver is gone: end it by hand."
_SCRIPT = """\
#!/bin/sh
# A machine of bigmachine session {session}. {end}
umask 077
off() {{ {off}; }}
{timer}mkdir -p {runtime} && cd {runtime} || off
(sleep {guard}; [ -e running ] || off) {aside}
python=$(command -v python3) || {{
echo "bigmachine: this image has no python3: choose another" | tee /dev/console
off
exit 1
}}
cat >boot.json <<'BIGMACHINE'
{configuration}
BIGMACHINE
cat >boot.py <<'BIGMACHINE'
{program}
BIGMACHINE
if [ -d /run/systemd/system ]; then
cat >/run/systemd/system/bigmachine.service <<BIGMACHINE
[Unit]
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target
SuccessAction={action}
FailureAction={action}
[Service]
ExecStart=$python {runtime}/boot.py {runtime}/boot.json
StandardOutput=journal+console
StandardError=journal+console
OOMPolicy=continue
LimitNOFILE=65536
BIGMACHINE
systemctl daemon-reload
systemctl start --no-block bigmachine.service || off
else
setsid $python boot.py {runtime}/boot.json </dev/null &
fi
"""


def user_data(
    request: LaunchRequest,
    *,
    form: Form = "cloud-init",
    listen: str = f"0.0.0.0:{PORT}",
    contact_seconds: float = 600.0,
    lifetime_seconds: float = 0.0,
    compress: bool = True,
    is_immortal: bool = False,
    poweroff: tuple[tuple[str, ...], ...] = _POWEROFF,
    folder: str = "/var/lib/bigmachine",
    runtime: str = "/run/bigmachine",
) -> bytes:
    """Render what brings up the machines of a ``start``: the same bytes for all of them.

    As ``"cloud-init"`` it runs as soon as the network is up, before the system's services;
    as ``"script"`` wherever a start-up script runs. Gzip, which cloud-init takes and most
    start-up scripts don't, with ``compress``: under 10 KiB.

    The machine listens at ``listen``. It powers off by the first of the ``poweroff``
    commands that works, and stays on where there are none: when no driver has called
    ``contact_seconds`` after its boot, when the driver is then silent for the keepalive
    timeout, when the worker has ended, and ``lifetime_seconds`` after its boot in any
    case, where that is not 0. ``folder`` keeps
    what was received and built, for an image or a later session; ``runtime``, which must be
    in memory, the boot credential.
    """
    if form not in ("cloud-init", "script"):
        raise UsageError(f"form: must be 'cloud-init' or 'script', not {form!r}")
    credential = request.credential
    configuration = {
        "session": request.session,
        "certificate": credential.certificate.decode(),
        "key": credential.key.decode(),
        "authority": credential.authority.decode(),
        "listen": listen,
        "contact_seconds": contact_seconds,
        "silence_seconds": request.keepalive.timeout,
        "lifetime_seconds": lifetime_seconds,
        "folder": folder,
        "runtime": runtime,
        "poweroff": () if is_immortal else poweroff,
    }
    off = " || ".join(" ".join(command) for command in poweroff) or "exit"
    # The program ends with its worker: it can't be what ends such a machine.
    timer = f"(sleep {math.ceil(lifetime_seconds)}; {off}) {_ASIDE}\n"
    script = _SCRIPT.format(
        session=request.session,
        end=_IMMORTAL if is_immortal else _MORTAL,
        off="exit" if is_immortal else off,
        timer=timer if is_immortal and lifetime_seconds else "",
        guard=int(contact_seconds) + _GUARD_SECONDS,
        action="poweroff" if poweroff and not is_immortal else "none",
        aside=_ASIDE,
        runtime=runtime,
        configuration=json.dumps(configuration),
        program=program(),
    )
    if form == "cloud-init":
        script = "#cloud-boothook\n" + script
    data = script.encode("ascii")
    return gzip.compress(data, 9, mtime=0) if compress else data


# For a boot that never gets as far as the program, which looks after itself.
_GUARD_SECONDS = 60


@functools.cache  # every machine is sent the same
def modules() -> dict[str, str]:
    """Return the rest of the boot program, which the driver sends with its plan.

    The sources of modules, by their names, in the order of their imports.
    """
    folder = importlib.resources.files("bigmachine.boot.vm")
    return {name: folder.joinpath(name + ".py").read_text("utf-8") for name in _REST}


_REST = ("tools", "builder")


@functools.cache  # to cut it takes 0.15 s
def program() -> str:
    """Return the boot program without what a machine doesn't read: comments, docstrings, looks."""
    source = (
        importlib.resources.files("bigmachine.boot.vm").joinpath("program.py").read_text("utf-8")
    )
    # Lines are cut, and the rest stays as it is written: what `ast.unparse` makes of it can
    # be read by the driver's Python, and not by older ones.
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            continue
        if ast.get_docstring(node) is not None:
            first, last = node.body[0].lineno, node.body[0].end_lineno or 0
            lines[first - 1 : last] = [""] * (last - first + 1)
            if len(node.body) == 1:
                lines[first - 1] = " " * node.body[0].col_offset + "pass"
    return "\n".join(_dedented(line) for line in lines if line)


def _dedented(line: str) -> str:
    """Indent by one for four: some 280 bytes less, packed."""
    code = line.lstrip(" ")
    return " " * ((len(line) - len(code)) // 4) + code
