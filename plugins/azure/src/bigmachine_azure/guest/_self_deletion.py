"""How a virtual machine deletes itself when its driver is gone.

One that only powers off is *stopped*, and Azure bills it like one that runs, until it is
deallocated or deleted ("States and billing status of Azure Virtual Machines").
"""

from __future__ import annotations

from importlib.resources import files

from ..api._credentials import find_cloud
from ._delete_vm import METADATA_URL


def self_deletion(
    identity: str, endpoint_url: str = "", *, metadata_url: str = METADATA_URL
) -> str:
    """Return the program that a virtual machine with a managed identity deletes itself with.

    ``identity`` is the resource ID of a user-assigned identity, whose role needs the action
    ``Microsoft.Compute/virtualMachines/delete``, and ``endpoint_url`` the Azure Resource Manager,
    as the VM reaches it; by default that of the driver's cloud. The program is for
    `bigmachine.boot.user_data`.
    """
    source = files(__package__).joinpath("_delete_vm.py").read_text()
    cloud = find_cloud()
    audience = cloud.scope.removesuffix(".default")
    endpoint = endpoint_url or cloud.resource_manager
    return f"{source}\n\nmain({endpoint!r}, {audience!r}, {identity!r}, {metadata_url!r})\n"
