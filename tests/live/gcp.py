"""The conformance kit on a real project of Google Cloud: ``python -m tests.live gcp`` runs it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, ClassVar

import trio

from bigmachine_gcp import GcpSystem
from bigmachine_gcp.api._api import Api
from bigmachine_gcp.api._errors import GcpError
from bigmachine_gcp.options._labels import parse_description, session_of
from tests.live import account
from tests.live.account import RUN, Facts, Resource, highest, is_dead
from tests.live.suite import LiveSuite

_NEW_SECONDS = 120.0  # a list may not have what is new
_RULES = "global/firewalls/"
_PREFIX = "bigmachine-test-"  # of rules of no session: sessions' begin with bm-


class Account(account.Account[GcpSystem]):
    """The instances, disks and firewall rules of a project; ids are partial URLs."""

    system_class = GcpSystem
    defaults: ClassVar = {
        "machine_type": "e2-small,t2d-standard-1",  # the cheapest types with 2 GB or more
        "lifetime": "14400",  # seconds, a last resort: tests share machines for most of the run
    }
    tags_option = "labels"

    def __init__(self, system: GcpSystem, *, network: str, run: str) -> None:
        super().__init__(system, network=network, run=run)
        self._api = Api(system.options)
        self._created: dict[str, float] = {}  # when, of what `create_foreign` has created

    @staticmethod
    async def facts(system: GcpSystem) -> Facts:
        """Describe the project and the plan of a system that is set up."""
        plan = system._plan
        assert plan is not None
        types = dict.fromkeys(offer.type_name for offer in plan.offers)
        return Facts(
            account=f"{system._api.project}, as {system._api.account or 'a user'}",
            place=plan.region,
            machines=f"{' or '.join(types)}, {system.options.market}",
            network=plan.network.link,
            price=highest(system._prices.per_hour(offer) for offer in plan.offers),
        )

    async def find(self) -> Iterable[Resource]:
        """Return all instances, disks and firewall rules of the project."""
        found = []
        for method in ("instances.aggregated_list", "disks.aggregated_list"):
            found += [self._resource(raw) for raw in await self._api.read_all(method)]
        # Rules have no labels. What a killed driver on this computer has left is the run's.
        for raw in await self._api.read_all("firewalls.list"):
            rule = self._resource(raw)
            own = raw.description == self._note or (rule.session and is_dead(rule.driver))
            run = self.run if own else ""
            found.append(
                Resource(_RULES + raw.name, run, rule.session, rule.driver, is_billed=False)
            )
        return found

    async def create_foreign(self) -> str | None:
        """Create a firewall rule of no session, which lets nobody in."""
        name = f"{_PREFIX}{secrets.token_hex(4)}"
        rule = {
            "name": name,
            "description": self._note,
            "network": self.network,
            "direction": "INGRESS",
            "allowed": [{"I_p_protocol": "tcp", "ports": ["7443"]}],
            "source_ranges": ["192.0.2.0/32"],  # reserved for documentation
            "target_tags": [name],
            "disabled": True,
        }
        try:
            await self._api.change_and_wait("firewalls.insert", firewall_resource=rule)
        except GcpError as error:
            if error.is_denied:
                return None
            raise
        self._created[_RULES + name] = trio.current_time()
        return _RULES + name

    async def delete_foreign(self, id: str) -> None:
        """Delete a firewall rule."""
        name = id.removeprefix(_RULES)
        await self._api.change_and_wait("firewalls.delete", firewall=name)
        self._created.pop(id, None)

    def is_new(self, id: str) -> bool:
        """Whether lists may not have it yet."""
        created = self._created.get(id)
        return created is not None and trio.current_time() < created + _NEW_SECONDS

    async def disconnect(self) -> None:
        """Close all connections."""
        await self._api.close()

    @property
    def _note(self) -> str:
        return f"{RUN} {self.run}: a test checks that sessions do not delete it"

    def _resource(self, raw: Any) -> Resource:
        fields = parse_description(raw.description)
        return Resource(
            raw.self_link.partition("/projects/")[2].partition("/")[2],
            run=getattr(raw, "labels", {}).get(RUN, ""),
            session=session_of(raw.name, raw.description),
            driver=fields.get("driver", ""),
        )


class TestGcp(LiveSuite):
    bad_options = (
        {"market": "on-demand", "max_price": 0.1},
        {"disk": 0},
        {"disk": 1},
        {"machine_type": "e2-smal"},
        {"network": "bigmachine-test-no-such-network"},
        {"image": "projects/debian-cloud/global/images/debian-0"},
    )
