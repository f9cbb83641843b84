"""What Azure checks of a new VM before it begins to make it, beside what its model says."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import Call
from tests.support.azure.capacity import is_spot
from tests.support.azure.errors import ArmError, invalid
from tests.support.azure.images import Source
from tests.support.azure.places import WITHOUT_ZONES
from tests.support.azure.sizes import Size
from tests.support.azure.skus import DISK_TYPES
from tests.support.azure.vm import Vm

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

MOST_CUSTOM_DATA = 87_380
"""How long it may be in base64: that of 65,535 bytes ("custom data on Azure VMs")."""
USER_NAMES = frozenset(
    {
        *("1", "123", "a", "actuser", "adm", "admin", "admin1", "admin2", "administrator"),
        *("aspnet", "backup", "console", "david", "guest", "john", "owner", "root", "server"),
        *("sql", "support", "support_388945a0", "sys", "test", "test1", "test2", "test3"),
        *("user", "user1", "user2", "user3", "user4", "user5", "video"),
    }
)
"""That nobody may have ("OSProfile.adminUsername", and "Linux VMs: username requirements")."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_])?")
_KEY = re.compile(r"(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/]+=*( .*)?\n?")


def check_vm(arm: Arm, vm: Mapping[str, Any]) -> tuple[Size, Source]:
    """Return a VM's size and image; raises `ArmError` as Azure does."""
    _check_name(str(vm["name"]))
    of = vm["properties"]
    for needed in ("hardwareProfile", "storageProfile", "osProfile", "networkProfile"):
        if not of.get(needed):
            raise ArmError(
                400, "InvalidParameter", f"Required parameter '{needed}' is missing (null).", needed
            )
    size = _check_size(arm, vm)
    storage = of["storageProfile"]
    if not storage.get("imageReference"):
        text = "Required parameter 'imageReference' is missing (null)."
        raise ArmError(400, "InvalidParameter", text, "imageReference")
    source = arm.images.source(storage["imageReference"], vm["location"])
    _check_image(size, source, storage)
    _check_disks(size, source, storage)
    _check_os(of["osProfile"], of.get("userData", ""))
    _check_market(arm, size, of)
    _check_security(size, source, of.get("securityProfile", {}))
    arm.images.check_terms(vm, arm.subscription)
    return size, source


def check_identities(arm: Arm, vm: Mapping[str, Any]) -> None:
    """Refuse a VM with an identity that there is not."""
    for id in vm.get("identity", {}).get("userAssignedIdentities", {}):
        if arm.resources.find(id) is None:
            said = json.dumps(
                {"error": {"code": "BadRequest", "message": f"Resource '{id}' was not found."}}
            )
            text = (
                f"Identity operation for resource '{vm['id']}' failed with error 'Failed to "
                f"perform resource identity operation. Status: 'BadRequest'. Response: '{said}'.'."
            )
            raise ArmError(400, "FailedIdentityOperation", text)


def check_change(call: Call, vm: Vm) -> None:
    """Refuse a PUT of a VM that there is, unless it changes what can be changed."""
    if call.headers.get("if-none-match") == "*":
        text = f"The resource '{vm.id}' already exists, and the request has 'If-None-Match: *'."
        raise ArmError(412, "PreconditionFailed", text)
    if vm.state == "Deleting":  # Azure/azure-sdk-for-python#2702
        text = (
            f"Operation 'Create or Update VM' is not allowed on VM '{vm.name}' since the VM is "
            "marked for deletion. You can only retry the Delete operation (or wait for an ongoing "
            "one to complete)."
        )
        raise ArmError(409, "OperationNotAllowed", text)
    for part in ("osProfile", "storageProfile", "priority"):
        given = call.body.get("properties", {}).get(part)
        if given is not None and given != vm.sent["properties"].get(part):
            text = f"Changing property '{part}' is not allowed."
            raise ArmError(409, "PropertyChangeNotAllowed", text, part)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ArmError(
            400,
            "InvalidParameter",
            "Linux host name cannot exceed 64 characters in length or contain the following "
            "characters: ` ~ ! @ # $ % ^ & * ( ) = + _ [ ] { } \\ | ; : ' \" , < > / ?.",
            "vmName",
        )


def _check_size(arm: Arm, vm: Mapping[str, Any]) -> Size:
    name, location = str(vm["properties"]["hardwareProfile"].get("vmSize", "")), vm["location"]
    zones = tuple(vm.get("zones", ()))
    known = [size for size in arm.skus.sizes if size.lower() == name.lower()]
    if not known:
        # MicrosoftDocs/azure-docs: the list of sizes follows, which is some kilobytes long.
        text = (
            f"The value {name} provided for the VM size is not valid. The valid sizes in the "
            f"current region are: {','.join(sorted(arm.skus.sizes))}."
        )
        raise ArmError(400, "InvalidParameter", text, "vmSize")
    if zones and location in WITHOUT_ZONES:
        # kubernetes-sigs/cluster-api-provider-azure#294
        text = (
            "The resource type 'virtualMachines' does not support availability zones at location "
            f"'{location}'."
        )
        raise ArmError(400, "ResourceTypeNotSupportAvailabilityZones", text)
    size = arm.skus.offers(name, location)
    if (
        size is None
        or arm.skus.is_restricted(size.name, location, zones)
        or any(zone not in size.zones_in(location) for zone in zones)
    ):
        # Azure/Azure-Network-Security#30
        text = (
            f"The requested size for resource '{vm['id']}' is currently not available in location "
            f"'{location}' zones '{','.join(zones)}' for subscription '{arm.subscription}'. Please "
            "try another size or deploy to a different location or zones. See "
            "https://aka.ms/azureskunotavailable for details."
        )
        raise ArmError(409, "SkuNotAvailable", text)
    return size


def _check_image(size: Size, source: Source, storage: Mapping[str, Any]) -> None:
    if source.generation not in size.generations:
        number = source.generation.removeprefix("V")
        text = (  # microsoft/ga4gh-tes#43
            f"The selected VM size '{size.name}' cannot boot Hypervisor Generation '{number}'. If "
            "this was a Create operation please check that the Hypervisor Generation of the Image "
            "matches the Hypervisor Generation of the selected VM Size. If this was an Update "
            f"operation please select a Hypervisor Generation '{number}' VM Size. For more "
            "information, see https://aka.ms/azuregen2vm"
        )
        raise ArmError(400, "BadRequest", text)
    if source.architecture != size.architecture:
        text = (  # in several public repositories' notes, as of 2026
            f"Cannot create a VM of size '{size.name}' because this VM size only supports a CPU "
            f"Architecture of '{size.architecture}', but an image or disk with CPU Architecture "
            f"'{source.architecture}' was given. Please check that the CPU Architecture of the "
            "image or disk is compatible with that of the VM size."
        )
        raise ArmError(400, "BadRequest", text)
    given = storage.get("diskControllerType", "")
    if given and given not in size.disk_controllers:
        text = (  # Azure/FederalAVD#20
            f"The VM size '{size.name}' cannot boot with DiskControllerType '{given}'. Please "
            "check that the disk controller type provided is one of the supported disk controller "
            f"types for the VM size '{size.name}'. Please query sku api at "
            "https://aka.ms/azure-compute-skus  to determine supported disk controller types for "
            "the VM size."
        )
        raise ArmError(400, "InvalidParameter", text, "storageProfile.diskControllerType")
    wanted = [given] if given else size.disk_controllers
    if not any(controller in source.controllers for controller in wanted):
        text = (  # skypilot-org/skypilot#10375
            f"The VM size '{size.name}' cannot boot with OS image or disk. Please check that disk "
            "controller types supported by the OS image or disk is one of the supported disk "
            f"controller types for the VM size '{size.name}'. Please query sku api at "
            "https://aka.ms/azure-compute-skus  to determine supported disk controller types for "
            "the VM size."
        )
        raise ArmError(400, "InvalidParameter", text, "vmSize")


def _check_disks(size: Size, source: Source, storage: Mapping[str, Any]) -> None:
    os_disk = storage.get("osDisk") or {}
    if os_disk.get("createOption", "FromImage") != "FromImage":
        raise invalid("osDisk.createOption", os_disk["createOption"])
    wanted = os_disk.get("diskSizeGB")
    if wanted is not None and wanted < source.size:
        text = (  # hitachienergy/epiphany#1049
            f"The specified disk size {wanted} GB is smaller than the size of the corresponding "
            f"disk in the VM image: {source.size} GB. This is not allowed. Please choose equal or "
            "greater size or do not specify an explicit size."
        )
        raise ArmError(409, "OperationNotAllowed", text, "osDisk.diskSizeGB")
    disks = storage.get("dataDisks", ())
    if len(disks) > size.data_disks:
        text = (
            "The maximum number of data disks allowed to be attached to a VM of this size is "
            f"{size.data_disks}."
        )
        raise ArmError(409, "OperationNotAllowed", text, "dataDisks")
    luns = [disk["lun"] for disk in disks]
    if len({*luns}) < len(luns):
        raise invalid("dataDisk.lun", luns, "Each disk needs a number of its own.")
    for target, disk in [("osDisk", os_disk), *(("dataDisk", disk) for disk in disks)]:
        kind = disk.get("managedDisk", {}).get("storageAccountType", "Standard_LRS")
        if kind not in DISK_TYPES or (
            target == "osDisk" and kind in ("PremiumV2_LRS", "UltraSSD_LRS")
        ):
            raise invalid(f"{target}.managedDisk.storageAccountType", kind)
        if kind.startswith("Premium") and not size.has_premium_disks:
            text = (  # "Requested operation cannot be performed because…", of many issues
                "Requested operation cannot be performed because the VM size "
                f"{size.name} does not support the storage account type {kind} of disk. Consider "
                "updating the VM to a size that supports Premium storage."
            )
            raise ArmError(
                400, "InvalidParameter", text, f"{target}.managedDisk.storageAccountType"
            )
        if target == "dataDisk" and disk.get("createOption") == "Empty":
            gib = disk.get("diskSizeGB")
            if gib is None or not 1 <= gib <= DISK_TYPES[kind][1]:
                text = f"The value '{gib}' is not a valid size in GB."
                raise ArmError(400, "InvalidParameter", text, "dataDisk.diskSizeGB")


def _check_os(profile: Mapping[str, Any], user_data: str) -> None:
    name = profile.get("adminUsername", "")
    if not name:
        text = "Required parameter 'adminUsername' is missing (null)."
        raise ArmError(400, "InvalidParameter", text, "adminUsername")
    if name.lower() in USER_NAMES or len(name) > 64:
        text = (
            "The Admin Username specified is not allowed. For more information about disallowed "
            "usernames, see https://aka.ms/vmosprofile"
        )
        raise ArmError(400, "InvalidParameter", text, "adminUsername")
    if not profile.get("computerName") or len(profile["computerName"]) > 64:
        raise invalid("computerName", profile.get("computerName", ""))
    linux = profile.get("linuxConfiguration", {})
    keys = linux.get("ssh", {}).get("publicKeys", [])
    if linux.get("disablePasswordAuthentication"):
        if not keys:
            text = (  # ComputeCanada/magic_castle#44
                "Authentication using either SSH or by user name and password must be enabled in "
                "Linux profile."
            )
            raise ArmError(400, "InvalidParameter", text, "linuxConfiguration")
    elif not profile.get("adminPassword"):
        text = "Required parameter 'adminPassword' is missing (null)."
        raise ArmError(400, "InvalidParameter", text, "adminPassword")
    for key in keys:
        path = f"/home/{name}/.ssh/authorized_keys"
        if key.get("path") != path:
            text = (
                f"Destination path for SSH public keys is currently limited to its default value "
                f"{path} due to a known issue in Linux provisioning agent."
            )
            raise ArmError(400, "InvalidParameter", text, "linuxConfiguration.ssh.publicKeys.path")
        if not _KEY.fullmatch(key.get("keyData", "")):
            text = "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid."
            raise ArmError(
                400, "InvalidParameter", text, "linuxConfiguration.ssh.publicKeys.keyData"
            )
    for field, text in (
        ("osProfile.customData", profile.get("customData", "")),
        ("userData", user_data),
    ):
        _check_base64(field, text)


def _check_base64(field: str, text: str) -> None:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        why = f"The value of parameter {field} must be Base64 encoded."
        raise ArmError(400, "InvalidParameter", why, field) from None
    if len(text) > MOST_CUSTOM_DATA:
        why = (
            "Custom data in OSProfile must be in Base64 encoding and with a maximum length of "
            f"{MOST_CUSTOM_DATA} characters."
        )
        raise ArmError(400, "InvalidParameter", why, field)


def _check_market(arm: Arm, size: Size, of: Mapping[str, Any]) -> None:
    """Refuse what is not as "Error messages for Azure Spot Virtual Machines" wants it."""
    most = of.get("billingProfile", {}).get("maxPrice")
    if not is_spot({"properties": of}):
        if of.get("evictionPolicy"):
            text = "Eviction policy can be set only on Azure Spot Virtual Machines."
            raise ArmError(409, "EvictionPolicyCanBeSetOnlyOnAzureSpotVirtualMachines", text)
        if most not in (None, -1):
            text = "Max price is supported only for Azure Spot Virtual Machines."
            raise ArmError(409, "MaxPriceIsSupportedOnlyForAzureSpotVirtualMachines", text)
        return
    if not arm.vms.has_spot:
        text = "Subscription not enabled with Azure Spot Virtual Machine feature."
        raise ArmError(409, "AzureSpotFeatureNotEnabledForSubscription", text)
    if not size.can_be_spot:
        text = f"Azure Spot Virtual Machine is not supported for this VM size {size.name}."
        raise ArmError(409, "AzureSpotIsNotSupportedForThisVMSize", text)
    if most is None or most == -1:
        return
    if most <= 0 or round(most, 5) != most:
        text = (
            "Invalid max price value. The only supported values for max price are -1 or a decimal "
            "greater than zero. Max price value of -1 indicates the Azure Spot Virtual Machine "
            "will not be evicted for price reasons."
        )
        raise ArmError(409, "MaxPriceValueInvalid", text)
    if most < size.spot_price:
        text = (
            f"Unable to perform operation 'Create VM' since the provided max price '{most} USD' is "
            f"lower than the current spot price '{size.spot_price} USD' for Azure Spot Virtual "
            f"Machine size '{size.name}'."
        )
        raise ArmError(409, "SpotPriceGreaterThanProvidedMaxPrice", text)


def _check_security(size: Size, source: Source, profile: Mapping[str, Any]) -> None:
    if profile.get("securityType") != "TrustedLaunch":
        if source.security == "TrustedLaunch":  # kubermatic/machine-controller#2013
            text = (
                "The provided gallery image only supports creation of VMs and VM Scale Sets with "
                "'TrustedLaunch' security type."
            )
            raise ArmError(400, "BadRequest", text)
        return
    if source.generation != "V2" or not size.has_trusted_launch:
        text = (
            "The VM size or the image does not support the security type 'TrustedLaunch'. See "
            "https://aka.ms/TrustedLaunch-FAQ."
        )
        raise ArmError(400, "BadRequest", text, "securityProfile.securityType")
