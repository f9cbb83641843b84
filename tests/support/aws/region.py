"""What there is in the emulated region: images, networks, and all that sessions have left."""

from __future__ import annotations

import datetime
import threading
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ssm.models import Parameter, ssm_backends

from tests.support.aws.names import ACCOUNT, DEBIAN, REGION, UBUNTU


@dataclass
class Region:
    """Moto's state of the region, for tests."""

    groups_at_first: set[str] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def ec2(self) -> Any:
        """Moto's own state of the region."""
        return ec2_backends[ACCOUNT][REGION]

    def instances(self) -> list[Any]:
        """List all instances that there ever were, moto's own objects."""
        with self._lock:  # not while some are hidden
            return [vm for of in self.ec2.reservations.values() for vm in of.instances]

    def leftovers(self) -> list[str]:
        """Name all that would be on the bill, or in the way: of any session, and of none."""
        with self._lock:
            ec2 = self.ec2
            vms = [vm.id for vm in self.instances() if vm.state != "terminated"]
            groups = [g.id for of_vpc in ec2.groups.values() for g in of_vpc.values()]
            own = [id for id in groups if id not in self.groups_at_first]
            return [*vms, *own, *ec2.volumes, *ec2.enis, *ec2.launch_templates]

    def clear(self) -> None:
        """Delete all that is left."""
        ec2 = self.ec2
        ec2.reservations.clear()
        ec2.volumes.clear()
        ec2.enis.clear()
        for template in [*ec2.launch_templates.values()]:
            ec2.delete_launch_template(template.name, template.id)
        for of_vpc in ec2.groups.values():
            for id in [id for id in of_vpc if id not in self.groups_at_first]:
                del of_vpc[id]

    def add_image(self, parameter: str = "", *, architecture: str = "x86_64", **more: Any) -> str:
        """Register an image with a root disk of 15 GiB, under a parameter; return its id."""
        id = f"ami-{len(self.ec2.amis):017x}"
        self.ec2.amis[id] = Ami(
            self.ec2,
            id,
            name=f"image {parameter}",
            architecture=architecture,
            **{"root_device_type": "ebs", "root_device_name": "/dev/xvda", **more},
        )
        if parameter:
            ssm = ssm_backends[ACCOUNT][REGION]
            ssm._parameters[parameter].append(_parameter(parameter, id))
        return id

    def add_images(self) -> None:
        """Register those that are the defaults of the ``ec2`` system."""
        for architecture, name in (("x86_64", "amd64"), ("arm64", "arm64")):
            for release in ("24.04", "26.04"):
                self.add_image(UBUNTU.format(release, name), architecture=architecture)
            for release in ("12", "13"):
                self.add_image(DEBIAN.format(release, name), architecture=architecture)

    def main_table(self) -> Any:
        """Return the default VPC's main route table."""
        filters = {"vpc-id": self.ec2.get_default_vpc().id, "association.main": "true"}
        [table] = self.ec2.describe_route_tables(filters=filters)
        return table

    def route_out(self, table: Any) -> None:
        """Have all that goes to the internet, by this route table, go through a gateway."""
        gateway = self.ec2.create_internet_gateway()
        self.ec2.attach_internet_gateway(gateway.id, table.vpc_id)
        self.ec2.create_route(table.id, "0.0.0.0/0", gateway_id=gateway.id)

    def open_default_vpc(self) -> None:
        """Connect it to the internet, by its main route table ("Default VPC components")."""
        table = self.main_table()
        if len(table.routes) == 1:
            self.route_out(table)


def _parameter(name: str, value: str) -> Parameter:
    return Parameter(
        account_id=ACCOUNT,
        name=name,
        value=value,
        parameter_type="String",
        description=None,
        allowed_pattern=None,
        keyid=None,
        last_modified_date=datetime.datetime.now(datetime.UTC),
        version=1,
        data_type="aws:ec2:image",
    )
