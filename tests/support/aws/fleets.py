"""CreateFleet as AWS documents it: moto's takes the first override alone, and little of a template.

What follows is by the API references of CreateFleet and CreateLaunchTemplate, and by "Use an EC2
Fleet of type instant" and "Quotas for EC2 Fleet" in the EC2 user guide. The instances are made by
moto's RunInstances, of what the template and the override say together.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from botocore.serialize import create_serializer
from botocore.session import Session

if TYPE_CHECKING:
    from tests.support.aws.aws import Aws
    from tests.support.aws.wire import Answer, Parameters

    Ask = Callable[[bytes], Answer]

_TAGGED = {"fleet", "instance", "volume", "network-interface"}  # by an instant fleet
_MODEL = Session().get_service_model("ec2")
_SERIALIZER = create_serializer("ec2", False)


def create_fleet(aws: Aws, ask: Ask, parameters: Parameters) -> tuple[int, bytes]:
    """Answer CreateFleet, with a status and content; ``ask`` has moto answer another request.

    * Pools get instances in the order of ``Priority``, the lowest number first, as many as
      there are. For spot instances, EC2 would look at capacity first: here it never has a view.
    * Pools that can't give what is wanted of them are in ``Errors``, and not an error.
    * All subnets of one zone must be the same.
    """
    asked = _structure(parameters)
    if problem := _problem(aws, asked):
        code, message = problem
        error = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        return 400, f"<Response><Errors>{error}</Errors></Response>".encode()
    capacity = asked["TargetCapacitySpecification"]
    left, market = int(capacity["TotalTargetCapacity"]), capacity["DefaultTargetCapacityType"]
    id = f"fleet-{uuid.uuid4()}"
    instances, errors = "", ""
    for config, override in sorted(_pools(asked), key=lambda pool: float(pool[1]["Priority"])):
        if not left:
            break
        zone = aws.ec2.get_subnet(override["SubnetId"]).availability_zone
        place = f"{market} {override['InstanceType']} {zone}"
        template = _template(aws, config)
        [card] = template["NetworkInterfaces"]
        refusal = (
            aws.refuse_pool(place, left)
            or _untaggable(template, market)
            or aws.unknown_group(card.get("Groups", card.get("SecurityGroupId", ())))
        )
        count = 0 if refusal else min(left, aws.capacity.get(place, left))
        if place in aws.capacity:
            aws.capacity[place] -= count
        about = _about(config, override, zone)
        if count:
            request = _run_request(asked, template, override, market=market, count=count)
            ids = _launch(aws, ask, request, {"aws:ec2:fleet-id": id})
            instances += _item(
                f"{about}<lifecycle>{market}</lifecycle>"
                f"<instanceIds>{''.join(map(_item, ids))}</instanceIds>"
                f"<instanceType>{override['InstanceType']}</instanceType>"
            )
            left -= count
        if left:
            code, message = refusal or (
                "InsufficientInstanceCapacity",
                f"We currently do not have sufficient capacity for {place}",
            )
            errors += _item(
                f"{about}<lifecycle>{market}</lifecycle><errorCode>{code}</errorCode>"
                f"<errorMessage>{escape(message)}</errorMessage>"
            )
    return (
        200,
        f'<CreateFleetResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>r</requestId><fleetId>{id}</fleetId><errorSet>{errors}</errorSet>"
        f"<fleetInstanceSet>{instances}</fleetInstanceSet></CreateFleetResponse>".encode(),
    )


def _problem(aws: Aws, asked: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why the whole request is refused."""
    if asked["Type"] != "instant":
        return "InvalidParameterValue", "these tests know instant fleets alone"
    if not 1 <= int(asked["TargetCapacitySpecification"]["TotalTargetCapacity"]) <= 10_000:
        return "InvalidFleetConfig", "the target capacity of a fleet is 10,000 at most"
    for config in asked["LaunchTemplateConfigs"]:
        name = config["LaunchTemplateSpecification"]["LaunchTemplateName"]
        if name not in {template.name for template in aws.ec2.launch_templates.values()}:
            return "InvalidLaunchTemplateName.NotFoundException", f"{name} does not exist"
    subnets: dict[str, str] = {}
    for _, override in _pools(asked):
        if float(override.get("MaxPrice", 1)) <= 0.001:
            return "InvalidParameterValue", "the price must be more than USD $0.001"
        zone = aws.ec2.get_subnet(override["SubnetId"]).availability_zone
        if subnets.setdefault(zone, override["SubnetId"]) != override["SubnetId"]:
            return "InvalidFleetConfig", f"different subnets from the same zone, {zone}"
    for specification in asked.get("TagSpecification", ()):
        if specification["ResourceType"] not in _TAGGED:
            return "InvalidParameterValue", f"{specification['ResourceType']} can't be tagged here"
    return None


def _untaggable(template: Mapping[str, Any], market: str) -> tuple[str, str] | None:
    """Refuse what EC2 refuses on demand (seen by users of Karpenter, in its issue 5850)."""
    kinds = {s["ResourceType"] for s in template.get("TagSpecifications", ())}
    if market == "spot" or "spot-instances-request" not in kinds:
        return None
    return (
        "InvalidParameterValue",
        "You cannot specify tags for Spot instances requests if there are no Spot instances "
        "requests being created by the request.",
    )


def _pools(asked: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    return [(c, override) for c in asked["LaunchTemplateConfigs"] for override in c["Overrides"]]


def _template(aws: Aws, config: Mapping[str, Any]) -> dict[str, Any]:
    wanted = config["LaunchTemplateSpecification"]
    [template] = [
        template
        for template in aws.ec2.launch_templates.values()
        if template.name == wanted["LaunchTemplateName"]
    ]
    return dict(template.get_version(wanted["Version"]).data)


def _run_request(
    asked: Mapping[str, Any],
    template: Mapping[str, Any],
    override: Mapping[str, Any],
    *,
    market: str,
    count: int,
) -> dict[str, Any]:
    """Return the parameters of RunInstances that a pool comes to."""
    [card] = template["NetworkInterfaces"]
    own = [
        {"ResourceType": s["ResourceType"], "Tags": s["Tag"]}
        for s in asked.get("TagSpecification", ())
        if s["ResourceType"] != "fleet"
    ]
    request = {
        **template,
        "ImageId": override.get("ImageId", template.get("ImageId")),
        "InstanceType": override["InstanceType"],
        "NetworkInterfaces": [{**card, "SubnetId": override["SubnetId"]}],
        # moto adds the template's own tags to those.
        "TagSpecifications": [
            *(s for s in template["TagSpecifications"] if s["ResourceType"] != "launch-template"),
            *own,
        ],
        "MinCount": count,
        "MaxCount": count,
    }
    if market == "spot":
        request["InstanceMarketOptions"] = {"MarketType": "spot"}
    return request


def _launch(aws: Aws, ask: Ask, request: Mapping[str, Any], tags: Mapping[str, str]) -> list[str]:
    operation = _MODEL.operation_model("RunInstances")
    body = _SERIALIZER.serialize_to_request(request, operation)["body"]
    status, _, content = ask(urlencode(body).encode())
    assert status.startswith("200"), content
    made = [*aws.ec2.reservations.values()][-1].instances
    for vm in made:
        vm.add_tags(tags)
    return [vm.id for vm in made]


def _about(config: Mapping[str, Any], override: Mapping[str, Any], zone: str) -> str:
    name = config["LaunchTemplateSpecification"]["LaunchTemplateName"]
    return (
        "<launchTemplateAndOverrides><launchTemplateSpecification>"
        f"<launchTemplateName>{name}</launchTemplateName><version>1</version>"
        "</launchTemplateSpecification><overrides>"
        f"<instanceType>{override['InstanceType']}</instanceType>"
        f"<subnetId>{override['SubnetId']}</subnetId><availabilityZone>{zone}</availabilityZone>"
        f"<priority>{override['Priority']}</priority></overrides></launchTemplateAndOverrides>"
    )


def _item(content: str) -> str:
    return f"<item>{content}</item>"


def _structure(parameters: Parameters) -> dict[str, Any]:
    """Return the structures and lists that the query's dotted names stand for."""
    tree: dict[str, Any] = {}
    for key, value in parameters.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return {key: _lists(value) for key, value in tree.items()}


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if all(key.isdigit() for key in node):
        return [_lists(node[key]) for key in sorted(node, key=int)]
    return {key: _lists(value) for key, value in node.items()}
