"""The options of all clouds' VMs, and the checks that need no request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

import bigmachine as bm
from bigmachine.system import VmOptions, check_options
from bigmachine.system._options import resolve_options


@dataclass(frozen=True, slots=True)
class MyOptions(VmOptions):
    max_data_volumes: ClassVar[int] = 11
    volume_gib: ClassVar[tuple[int, int]] = (10, 1000)
    lowest_price: ClassVar[float] = 0.001


def resolved(**keywords: object) -> MyOptions:
    options = resolve_options(MyOptions, system_name="my", keywords=keywords)
    check_options(options, **options.problems())
    return options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"immortal": True}, "immortal: needs lifetime"),
        ({"market": "reserved"}, "takes 'spot' or 'on-demand' or 'spot-then-on-demand'"),
        ({"market": "on-demand", "max_price": 1.0}, "max_price: is for spot instances, but"),
        ({"max_price": 0.001}, "max_price: must be more than 0.001 US dollars an hour"),
        ({"disk": 0}, "disk: must be at least 1 GiB"),
        ({"data_disk": -1}, "data_disk: must be 40 to 4000 GiB on 4 volumes, or 0 for none"),
        ({"data_disk": 39}, "data_disk: must be 40 to"),
        ({"data_disk": 1001, "data_volumes": 1}, "data_disk: must be 10 to 1000 GiB on 1 vol"),
        ({"data_disk": 100, "data_volumes": 12}, "data_volumes: must be 1 to 11"),
        ({"data_disk": 100, "data_volumes": 0}, "data_volumes: must be 1 to 11"),
        ({"files": ["/etc/motd"]}, "files: must be /PATH/THERE=path/here, not '/etc/motd'"),
        ({"files": ["/etc/motd="]}, "files: must be /PATH/THERE=path/here, not '/etc/motd='"),
        ({"files": ["etc/motd=x"]}, "files: must have an absolute path on the machine"),
        ({"files": ["/etc/../motd=x"]}, "files: must have an absolute path on the machine"),
        ({"files": ["/etc/=x"]}, "files: must have an absolute path on the machine"),
        ({"files": ["/etc/motd=x", "/etc/motd=y"]}, "files: must not have '/etc/motd' twice"),
        ({"units": ["x/run.sh"]}, r"units: must be paths of systemd units \(NAME.service, …\)"),
        ({"units": ["x/a@.service"]}, "units: must be paths of systemd units"),
        ({"units": ["a/x.service", "b/x.service"]}, "units: must not have 'x.service' twice"),
        ({"allow": ["10.0.0.1/8"]}, "allow: must be IPv4 CIDR blocks: .* host bits set"),
        ({"allow": ["::/0"]}, "allow: must be IPv4 CIDR blocks"),
        ({"port": 22}, "port: is ssh's own port: choose another"),
        ({"port": 0}, "port: must be between 1 and 65535"),
        ({"endpoint_url": "localhost:80"}, "endpoint_url: must begin with http:// or https://"),
    ],
)
def test_options_without_sense_are_refused(options, message) -> None:
    with pytest.raises(bm.UsageError, match=message):
        resolved(**options)


def test_spot_is_tried_before_on_demand() -> None:
    assert resolved().markets == ("spot", "on-demand")
    assert resolved(market="spot").markets == ("spot",)
    assert resolved(market="on-demand").markets == ("on-demand",)
