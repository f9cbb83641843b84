"""AWS's prices: answers that moto has not, or not with prices, in the shapes of the API references.

GetProducts is that of the Price List API (its reference, and "Reading the service price list
files" of the Billing guide), with products as it has them for EC2; DescribeSpotPriceHistory is
that of EC2. What must be left out is there, too: what our filters forget makes another price.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

SPOT, ON_DEMAND = 0.04, 0.10
LICENSE = 0.06
"""What Red Hat Enterprise Linux costs an hour, in addition."""
GP3_MONTH, ADDRESS = 0.072, 0.005
EXTRAS = 20 * GP3_MONTH / 720 + ADDRESS
"""What comes with an instance, an hour: a disk of 20 GiB for 720 hours a month, an address."""

_PAGE = 2
_FAR_TOO_MUCH = 1000.0
_COMMON = {"regionCode": "us-east-1", "locationType": "AWS Region"}
_INSTANCE = {
    **_COMMON,
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "licenseModel": "No License required",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
    "operation": "RunInstances",
}
_OTHERS = {
    "regionCode": "eu-west-1",
    "locationType": "AWS Local Zone",
    "operatingSystem": "Windows",
    "tenancy": "Dedicated",
    "preInstalledSw": "SQL Std",
    "licenseModel": "Bring your own license",
    "capacitystatus": "UnusedCapacityReservation",
    "marketoption": "CapacityBlock",
}


@dataclass
class PriceList:
    """What AWS answers about prices; a test changes the parts it is about."""

    ACTIONS: ClassVar = ("GetProducts", "DescribeSpotPriceHistory")

    spot: dict[str, float] = field(default_factory=dict)
    """By ``"TYPE ZONE"``; else `SPOT`, and 0 for no price."""
    on_demand: dict[str, float] = field(default_factory=dict)
    """By type; else `ON_DEMAND`, and 0 for no price."""
    denied: set[str] = field(default_factory=set)
    """Actions that the user may not call."""
    currency: str = "USD"

    def answer(
        self, environ: Mapping[str, Any], action: str, parameters: Mapping[str, str], body: bytes
    ) -> tuple[str, list[Any], bytes]:
        """Answer one request: status, headers, content."""
        if action == "GetProducts":
            # Whose endpoint it is, by "Service endpoints" of the price list.
            assert "/us-east-1/pricing/aws4_request" in environ["HTTP_AUTHORIZATION"]
            return self._products(json.loads(body))
        return self._history(parameters)

    def _products(self, asked: Mapping[str, Any]) -> tuple[str, list[Any], bytes]:
        if "GetProducts" in self.denied:
            message = "User: made-up is not authorized to perform: pricing:GetProducts"
            return _json(400, {"__type": "AccessDeniedException", "Message": message})
        wanted = {f["Field"]: f["Value"] for f in asked["Filters"] if f["Type"] == "TERM_MATCH"}
        found = [
            json.dumps(product)
            for product in self._list(asked["ServiceCode"], wanted.get("instanceType", "m5.large"))
            if all(_value(product, key) == value for key, value in wanted.items())
        ]
        begin = int(asked.get("NextToken", 0))
        reply: dict[str, Any] = {
            "FormatVersion": "aws_v1",
            "PriceList": found[begin : begin + _PAGE],
        }
        if begin + _PAGE < len(found):
            reply["NextToken"] = str(begin + _PAGE)
        return _json(200, reply)

    def _list(self, service: str, kind: str) -> Iterator[dict[str, Any]]:
        if service == "AmazonVPC":
            address = {**_COMMON, "group": "VPCPublicIPv4Address"}
            yield self._product("", ADDRESS, usagetype="USE1-PublicIPv4:InUseAddress", **address)
            for usage in ("PublicIPv4:IdleAddress", "PublicIPv4:ContiguousBlock"):
                yield self._product("", _FAR_TOO_MUCH, usagetype=f"USE1-{usage}", **address)
            yield self._product("", _FAR_TOO_MUCH, usagetype="USE1-VpcEndpoint-Hours", **_COMMON)
            return
        family = "Compute Instance"
        instance = {**_INSTANCE, "instanceType": kind, "usagetype": f"BoxUsage:{kind}"}
        for key, value in _OTHERS.items():
            yield self._product(family, _FAR_TOO_MUCH, **{**instance, key: value})
        if price := self.on_demand.get(kind, ON_DEMAND):
            yield self._product(family, price, **instance)
            # "AMI billing information fields" has its operation.
            licensed = {**instance, "operatingSystem": "RHEL", "operation": "RunInstances:0010"}
            yield self._product(family, price + LICENSE, **licensed)
        disk = {**_COMMON, "usagetype": "EBS:VolumeUsage.gp3", "volumeApiName": "gp3"}
        yield self._product("Storage", GP3_MONTH, **disk)
        for key, value in {"volumeApiName": "io2", "regionCode": "eu-west-1"}.items():
            yield self._product("Storage", _FAR_TOO_MUCH, **{**disk, key: value})
        yield self._product("Provisioned Throughput", _FAR_TOO_MUCH, **disk)

    def _product(self, family: str, price: float, **attributes: str) -> dict[str, Any]:
        rate = {"unit": "Hrs", "beginRange": "0", "endRange": "Inf"}
        dimension = {**rate, "pricePerUnit": {self.currency: f"{price:.10f}"}}
        term = {"priceDimensions": {"SKU.TERM.RATE": dimension}, "offerTermCode": "TERM"}
        product: dict[str, Any] = {"sku": "SKU", "attributes": attributes}
        if family:
            product["productFamily"] = family
        return {"product": product, "terms": {"OnDemand": {"SKU.TERM": term}}}

    def _history(self, asked: Mapping[str, str]) -> tuple[str, list[Any], bytes]:
        if "DescribeSpotPriceHistory" in self.denied:
            return _xml(403, _UNAUTHORIZED)
        kinds = [value for key, value in asked.items() if key.startswith("InstanceType.")]
        zones = [value for key, value in asked.items() if key.startswith("Filter.1.Value.")]
        times = {"2026-01-02": 1.0} if "StartTime" in asked else {"2026-01-02": 1, "2025-12-31": 9}
        products = {"Linux/UNIX": 0.0, "Red Hat Enterprise Linux": LICENSE, "Windows": 1000.0}
        if wanted := asked.get("ProductDescription.1"):
            products = {wanted: products[wanted]}
        items = "".join(
            f"<item><instanceType>{kind}</instanceType><availabilityZone>{zone}</availabilityZone>"
            f"<productDescription>{product}</productDescription>"
            f"<spotPrice>{price + more:.6f}</spotPrice><timestamp>{time}T00:00:00Z</timestamp>"
            "</item>"
            for time in times
            for product, more in products.items()
            for kind in kinds
            for zone in zones
            if (price := times[time] * self.spot.get(f"{kind} {zone}", SPOT))
        )
        return _xml(200, _HISTORY.format(items))


def _value(product: Mapping[str, Any], key: str) -> Any:
    inner = product["product"]
    return inner.get(key) or inner["attributes"].get(key)


def _json(status: int, content: Mapping[str, Any]) -> tuple[str, list[Any], bytes]:
    return f"{status} X", [("Content-Type", "application/x-amz-json-1.1")], _bytes(content)


def _bytes(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _xml(status: int, content: str) -> tuple[str, list[Any], bytes]:
    return f"{status} X", [("Content-Type", "text/xml")], content.encode()


_UNAUTHORIZED = (
    "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized "
    "to perform: ec2:DescribeSpotPriceHistory</Message></Error></Errors><RequestID>r</RequestID>"
    "</Response>"
)
_HISTORY = (
    '<DescribeSpotPriceHistoryResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
    "<requestId>r</requestId><spotPriceHistorySet>{}</spotPriceHistorySet><nextToken/>"
    "</DescribeSpotPriceHistoryResponse>"
)
