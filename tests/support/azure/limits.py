"""Limits that Azure has only in words, or not in the SDK's models, by model and property."""

from __future__ import annotations

from typing import Any

from tests.support.schemas import Schema

_BASE64 = r"[A-Za-z0-9+/]*={0,2}"
_OF_64_KIB = 87_384  # characters of base64

_LIMITS: dict[str, dict[str, Any]] = {
    # "Use tags to organize your Azure resources": 50 of them, names of 512 characters without
    # these, values of 256; names don't begin with words of Azure's own.
    "tags": {
        "max_properties": 50,
        "keys": Schema(
            pattern=r"(?!(?i:azure|microsoft|windows))[^<>%&\\?/]+", min_length=1, max_length=512
        ),
    },
    "tags.*": {"max_length": 256},
    # "Restricted to 140 chars."
    "SecurityRulePropertiesFormat.description": {"max_length": 140},
    # "Azure subscription and service limits": networking limits.
    "NetworkSecurityGroupPropertiesFormat.securityRules": {"max_items": 1000},
    "SecurityRulePropertiesFormat.sourceAddressPrefixes": {"max_items": 4000},
    "VirtualNetworkPropertiesFormat.subnets": {"max_items": 3000},
    # "Public IP addresses": idle timeout.
    "PublicIPAddressPropertiesFormat.idleTimeoutInMinutes": {"minimum": 4, "maximum": 30},
    "VirtualMachinePublicIPAddressConfigurationProperties.idleTimeoutInMinutes": {
        "minimum": 4,
        "maximum": 30,
    },
    # Descriptions: "Max-length (Linux): 64 characters", "The maximum length of the binary array is
    # 65535 bytes", "UserData for the VM, which must be base-64 encoded" (of 64 KB: its page).
    "OSProfile.computerName": {"min_length": 1, "max_length": 64},
    "OSProfile.adminUsername": {"min_length": 1, "max_length": 64},
    "OSProfile.customData": {"pattern": _BASE64, "max_length": 87_380},
    "VirtualMachineProperties.userData": {"pattern": _BASE64, "max_length": _OF_64_KIB},
    "DataDisk.lun": {"minimum": 0, "maximum": 63},
    # "Terminate notification": 5 to 15 minutes.
    "TerminateNotificationProfile.notBeforeTimeout": {"pattern": "PT([5-9]|1[0-5])M"},
}
OPEN_ENUMS = {
    # "This enum data type is currently deprecated": sizes are told by ``resource_skus``.
    "HardwareProfile.vmSize",
}
"""Properties whose enums don't have all values that Azure takes."""


def limits_of(name: str) -> dict[str, Any]:
    """Return those of a property as ``OSProfile.computerName``, or of any model's ``tags``."""
    return _LIMITS.get(name) or _LIMITS.get(name.partition(".")[2]) or {}
