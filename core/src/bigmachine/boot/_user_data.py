"""The user data of a VM: a start-up script with the boot program and a boot credential."""

from __future__ import annotations

import json
import math
import shlex
import zlib
from typing import TYPE_CHECKING, Literal

from ..errors import UsageError
from ..system.cloud._vm_options import PORT
from ._bundle import boot_program_source

if TYPE_CHECKING:
    from ..system._request import LaunchRequest

Form = Literal["cloud-init", "script"]

_POWEROFF = (("systemctl", "poweroff"), ("poweroff", "-f"), ("halt", "-f", "-p"))
_DELETION = "cat >delete.py <<'BIGMACHINE'\n{program}\nBIGMACHINE\n"
# When the system shuts down, it stops this service before the network and the resolver.
_ORDERING = "After=network.target nss-lookup.target\n"
_STOP = "ExecStopPost=-$python {runtime}/delete.py\n"
_IN_BACKGROUND = "</dev/null >/dev/null 2>&1 &"
_MORTAL = "It powers itself off when its driver is gone."
_GUEST = "It ends when its driver is gone; its host stays on."
_IMMORTAL = "It stays on when its driver is gone: stop it by hand."
_SCRIPT = """\
#!/bin/sh
# A machine of bigmachine session {session}. {end}
umask 077
off() {{ {off}; }}
{timer}mkdir -p {runtime} && cd {runtime} || off
{deletion}(sleep {guard}; [ -e running ] || off) {in_background}
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
{ordering}[Service]
ExecStart=$python {runtime}/boot.py {runtime}/boot.json
{stop}StandardOutput=journal+console
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
    poweroff: tuple[tuple[str, ...], ...] | None = None,
    self_deletion: str = "",
    folder: str = "/var/lib/bigmachine",
    runtime: str = "/run/bigmachine",
) -> bytes:
    """Return the user data for the machines of a ``start``: the same bytes for all of them.

    In the form ``"cloud-init"`` it runs as soon as the network is up, before the system's
    services; in the form ``"script"``, wherever a start-up script runs. ``compress`` makes it
    gzip, some 10 KiB: cloud-init accepts that, most start-up scripts don't.

    The machine listens at ``listen``. It powers off when no driver has called
    ``contact_seconds`` after its boot, when the driver is then silent for the keepalive
    timeout, when the worker has ended, and in any case ``lifetime_seconds`` after its boot, if
    that is not 0. It does so by the first of the ``poweroff`` commands that works, by default
    those of Linux. Without any, and by default if the system sets ``owns_hosts`` to False, only
    the boot program and the worker end, and the host stays on. What was received and built is
    kept in ``folder``, for an image or a later session. ``runtime`` is for the boot credential
    and must be in memory.

    ``self_deletion`` is for clouds where an instance that is powered off still costs money: a
    Python program, of the standard library and for Python 3.9 and later, that has the provider
    delete the instance it runs on. It runs whenever the machine is about to power off, and also,
    under systemd, when the boot program was killed or somebody else shuts the machine down, so it
    may run twice. It must end within seconds, whatever happens. The machine powers off after it.
    """
    if form not in ("cloud-init", "script"):
        raise UsageError(f"form: must be 'cloud-init' or 'script', not {form!r}")
    if poweroff is None:
        poweroff = _POWEROFF if request.owns_hosts else ()
    deletes_itself = bool(self_deletion and poweroff)
    if deletes_itself:
        # It is tried first, and always fails, so that the next command powers off.
        poweroff = (("sh", "-c", f"python3 {runtime}/delete.py; false"), *poweroff)
    is_stopped_with_deletion = deletes_itself and not is_immortal
    credential = request.credential
    configuration = {
        "session": request.session,
        "certificate": credential.certificate.decode(),
        "key": f"{credential.private_number():x}",
        "authority": credential.authority.decode(),
        "listen": listen,
        "contact_seconds": contact_seconds,
        "silence_seconds": request.keepalive.timeout,
        "lifetime_seconds": lifetime_seconds,
        "folder": folder,
        "runtime": runtime,
        "poweroff": () if is_immortal else poweroff,
    }
    off = " || ".join(shlex.join(command) for command in poweroff) or "exit"
    # An immortal machine outlives the boot program, which ends with its worker.
    timer = f"(sleep {math.ceil(lifetime_seconds)}; {off}) {_IN_BACKGROUND}\n"
    script = _SCRIPT.format(
        session=request.session,
        end=_IMMORTAL if is_immortal else _MORTAL if poweroff else _GUEST,
        off="exit" if is_immortal else off,
        timer=timer if is_immortal and lifetime_seconds else "",
        guard=int(contact_seconds) + _GUARD_SECONDS,
        action="poweroff" if poweroff and not is_immortal else "none",
        in_background=_IN_BACKGROUND,
        deletion=_DELETION.format(program=self_deletion.strip()) if deletes_itself else "",
        ordering=_ORDERING if is_stopped_with_deletion else "",
        stop=_STOP.format(runtime=runtime) if is_stopped_with_deletion else "",
        runtime=runtime,
        configuration=json.dumps(configuration),
        program=boot_program_source(),
    )
    if form == "cloud-init":
        script = "#cloud-boothook\n" + script
    data = script.encode("ascii")
    return _gzip(data) if compress else data


def _gzip(data: bytes) -> bytes:
    # In small blocks, so that the certificates have codes of their own: 1 % less.
    compressor = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS, 6)
    return compressor.compress(data) + compressor.flush()


# After `contact_seconds`, for a boot that never reaches the program, which has its own watchdog.
_GUARD_SECONDS = 60
