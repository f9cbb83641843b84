"""A cloud in a box: real hosts with systemd and cloud-init, on one computer, for tests.

Each host is a systemd-nspawn container. It is connected to a private network of the box, which
has the metadata service of the host's cloud. Like a virtual machine, the host boots, fetches its
user data and runs it. A test can wait for its power-off, cut its cable, or kill it at any moment.
No resource of a box outlives the process that opened the box::

    async with Box() as box:
        host = await box.boot(Ec2(user_data=b"#!/bin/sh\\necho hello"))
        await host.wait_console("hello")
        await host.cut()

A box needs root, some tools, and an image, which ``python -m tests.support.cloudbox build`` builds
once. `why_not` says what is missing.
"""

from tests.support.cloudbox._azure import Azure
from tests.support.cloudbox._box import Box
from tests.support.cloudbox._cloud import Cloud, Request, Response
from tests.support.cloudbox._command import run_command
from tests.support.cloudbox._ec2 import Ec2
from tests.support.cloudbox._gce import Gce
from tests.support.cloudbox._host import Host
from tests.support.cloudbox._hosted_vms import HostedVms, ticking, why_no_drivers
from tests.support.cloudbox._image import build, why_not
from tests.support.cloudbox._leftovers import leftovers
from tests.support.cloudbox._network import Unsupported

__all__ = [
    "Azure",
    "Box",
    "Cloud",
    "Ec2",
    "Gce",
    "Host",
    "HostedVms",
    "Request",
    "Response",
    "Unsupported",
    "build",
    "leftovers",
    "run_command",
    "ticking",
    "why_no_drivers",
    "why_not",
]
