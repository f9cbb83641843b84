"""Launches in the emulated region: how many there are, where, and each only once."""

from __future__ import annotations

import base64
import functools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.support.aws.fleets import create_fleet
from tests.support.aws.lifecycle import Lifecycle
from tests.support.aws.wire import Answer, Parameters, ask_app, error, reply

USER_DATA_LIMIT = 16384
PURCHASES = ("RunInstances", "CreateFleet")
WITH_TOKEN = (*PURCHASES, "CreateLaunchTemplate")


def _set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class Launches(Lifecycle):
    """What can be launched, and what was launched for which token."""

    capacity: dict[str, int] = field(default_factory=dict)
    """How many more instances there are, by ``"MARKET TYPE ZONE"``; else any number."""
    refuse_pool: Callable[[str, int], tuple[str, str] | None] = lambda place, count: None
    """The error, code and message, of so many instances at a place in a fleet, if any."""
    gate: threading.Event = field(default_factory=_set_event)
    """While it isn't set, a purchase, carried out, does not answer."""
    held: threading.Event = field(default_factory=threading.Event)
    """Set once a purchase is held up by the gate."""
    _tokens: dict[str, tuple[dict[str, str], Answer]] = field(default_factory=dict)

    def clear_launches(self) -> None:
        """Take back all that a test has arranged."""
        self.capacity.clear()
        self.refuse_pool = lambda place, count: None
        self._tokens.clear()
        self.gate.set()
        self.held.clear()

    def hold(self, action: str, answer: Answer) -> None:
        """Wait for the gate if this is the answer to a purchase that was carried out."""
        if action in PURCHASES and answer[0].startswith("200") and not self.gate.is_set():
            self.held.set()
            self.gate.wait(30)

    def once(
        self, app: Any, environ: dict[str, Any], action: str, parameters: dict[str, str]
    ) -> Answer:
        """Mend what takes a ``ClientToken``, by "Ensuring idempotency in EC2 API requests".

        It is carried out once; the same again has the same answer, and another request with
        that token is an IdempotentParameterMismatch.
        """
        token = parameters.get("ClientToken", "")
        if token in self._tokens:
            asked, answer = self._tokens[token]
            if asked == parameters:
                return answer
            return reply(400, error("IdempotentParameterMismatch", "another request had it"))
        ask = functools.partial(ask_app, app, environ)
        if action == "CreateFleet":
            answer = reply(*create_fleet(self, ask, parameters))
        elif action == "RunInstances":
            answer = self._run_instances(ask, parameters)
        else:
            answer = ask(urlencode(parameters).encode())
        if token and answer[0].startswith("200"):
            self._tokens[token] = parameters, answer
        return answer

    def _run_instances(self, ask: Callable[[bytes], Answer], parameters: Parameters) -> Answer:
        """Mend RunInstances, by its API reference.

        * As many are launched as there are, up to ``MaxCount``; fewer than ``MinCount`` are none,
          and an InsufficientInstanceCapacity, with status 500.
        * User data has at most 16 KiB before base64.
        * Security groups exist.
        """
        if len(base64.b64decode(parameters.get("UserData", ""))) > USER_DATA_LIMIT:
            message = f"User data is limited to {USER_DATA_LIMIT} bytes"
            return reply(400, error("InvalidParameterValue", message))
        groups = [v for k, v in parameters.items() if ".SecurityGroupId." in k]
        if problem := self.unknown_group(groups):
            return reply(400, error(*problem))
        least, most = int(parameters["MinCount"]), int(parameters["MaxCount"])
        place = self._place(parameters)
        count = min(most, self.capacity.get(place, most))
        if count < least:
            message = f"We currently do not have sufficient capacity for {place}"
            return reply(500, error("InsufficientInstanceCapacity", message))
        if place in self.capacity:
            self.capacity[place] -= count
        return ask(urlencode({**parameters, "MinCount": count}).encode())

    def unknown_group(self, groups: Iterable[str]) -> tuple[str, str] | None:
        """Return the error of a launch into these groups, if one does not exist."""
        for id in groups:
            if self.ec2.get_security_group_from_id(id) is None:
                return "InvalidGroup.NotFound", f"The security group '{id}' does not exist"
        return None

    def _place(self, parameters: Parameters) -> str:
        subnet = self.ec2.get_subnet(parameters["NetworkInterface.1.SubnetId"])
        market = parameters.get("InstanceMarketOptions.MarketType", "on-demand")
        return f"{market} {parameters['InstanceType']} {subnet.availability_zone}"
