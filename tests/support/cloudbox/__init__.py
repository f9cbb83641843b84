"""A cloud in a box: real hosts with systemd and cloud-init, on one computer, for tests.

Each host is a machine of systemd-nspawn on a network of the box's own, where it finds the
metadata service of the cloud that it is told it runs in. It boots, fetches its user data and
runs it, as a virtual machine does; its `poweroff` is seen, its cable can be cut, and it can
be lost at any moment. Nothing of it outlives the process that opened the box::

    async with Box() as box:
        host = await box.boot(Ec2(user_data=b"#!/bin/sh\\necho hello"))
        await host.wait_console("hello")
        await host.cut()

It needs root, some tools, and an image, made once by ``python -m tests.support.cloudbox build``:
`why_not` says what is missing.
"""

from tests.support.cloudbox._azure import Azure
from tests.support.cloudbox._box import Box
from tests.support.cloudbox._cloud import Cloud, Request, Response
from tests.support.cloudbox._ec2 import Ec2
from tests.support.cloudbox._gce import Gce
from tests.support.cloudbox._host import Host
from tests.support.cloudbox._image import build, why_not
from tests.support.cloudbox._leftovers import left
from tests.support.cloudbox._network import Unsupported

__all__ = [
    "Azure",
    "Box",
    "Cloud",
    "Ec2",
    "Gce",
    "Host",
    "Request",
    "Response",
    "Unsupported",
    "build",
    "left",
    "why_not",
]
