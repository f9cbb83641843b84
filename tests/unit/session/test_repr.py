"""What sessions and machines show of themselves: as text, and as HTML in a notebook."""

from __future__ import annotations

import dataclasses
import re

import trio

import bigmachine as bm
from bigmachine.session import _repr
from bigmachine.testing import InProcessSystem
from tests.support.html import Cells


class Work:
    def one(self) -> int:
        return 1


class Billed(InProcessSystem):
    """Machines that a cloud could have, whose texts are those of an attacker."""

    name = "billed"
    is_billed = True
    zone = "us-east-1a"

    async def start(self, count, request):
        details = {"instance_type": "c7i.xlarge", "market": "spot"}
        return [
            dataclasses.replace(
                instance, id=f"i-{n}", zone=self.zone, cost_per_hour=0.25, details=details
            )
            for n, instance in enumerate(await super().start(count, request))
        ]

    async def stop(self, instance):
        await super().stop(dataclasses.replace(instance, zone=""))


def rows(html: str) -> list[dict[str, str]]:
    header, *rest = Cells(html).rows
    return [dict(zip(header, row, strict=True)) for row in rest]


def test_machine_tells_its_name_state_address_and_place_and_why_it_stopped():
    async def main() -> None:
        async with bm.AsyncSession(Billed, maxprocs=4) as session:
            [machine] = await session.start(1, services={"Work": Work()})
            address = machine.instance.address
            place = f"at {address}, id i-0, c7i.xlarge spot in us-east-1a"
            assert repr(machine) == f"<AsyncMachine m0 RUNNING {place}, 4 cores>"
            assert rows(machine._repr_html_()) == [
                {
                    "machine": "m0",
                    "state": "●\N{NO-BREAK SPACE}RUNNING",
                    "address": address,
                    "id": "i-0",
                    "type": "c7i.xlarge spot",
                    "zone": "us-east-1a",
                    "cores": "4",
                    "$/hour": "$0.25",
                }
            ]
            machine.cancel()
            assert repr(machine) == f"<AsyncMachine m0 STOPPED {place}: it was cancelled>"
            [row] = rows(machine._repr_html_())
            assert row["state"].endswith("STOPPED")
            assert row[""] == "it was cancelled"

    trio.run(main)


def test_session_tells_its_system_state_machines_and_cost():
    async def main() -> None:
        session = bm.AsyncSession(Billed(), name="Ada")
        name = session.name
        assert repr(session) == f"<AsyncSession {name} on 'billed', not open>"
        async with session:
            assert repr(session) == f"<AsyncSession {name} on 'billed', open, no machines>"
            first, *_ = await session.start(3, services={"Work": Work()})
            text = f"<AsyncSession {name} on 'billed', open, 3 machines RUNNING; 3 × c7i.xlarge"
            assert repr(session).startswith(text)
            assert "about $" in repr(session) or "less than $" in repr(session)
            await first.shutdown()
            assert "open, 2 machines RUNNING; " in repr(session)
            assert [row["machine"] for row in rows(session._repr_html_())] == ["m1", "m2"]
        assert repr(session).startswith(f"<AsyncSession {name} on 'billed', closed; 3 × c7i")

    trio.run(main)


def test_sync_session_shows_itself_without_being_opened_by_that():
    session = bm.Session(InProcessSystem())
    assert repr(session) == "<Session on 'in-process', not open>"
    assert Cells(session._repr_html_()).tags == ["div", "b"]
    assert repr(session) == "<Session on 'in-process', not open>"
    [machine] = session.start(1, services={"Work": Work()})
    assert repr(session) == f"<Session {session.name} on 'in-process', open, 1 machine RUNNING>"
    assert repr(machine).startswith("<Machine m0 RUNNING at ")
    assert rows(session._repr_html_()) == rows(machine._repr_html_())
    session.shutdown()
    assert repr(session) == f"<Session {session.name} on 'in-process', closed>"
    assert repr(machine).endswith(": it was shut down>")


def test_texts_of_provider_are_harmless_in_repr_and_html():
    async def main() -> None:
        system = Billed()
        system.zone = '<img src="x" onerror="a()">\x1b]0;title\x07\n\u202e'
        async with bm.AsyncSession(system) as session:
            [machine] = await session.start(1, services={"Work": Work()})
            assert repr(machine).isprintable()
            plain = {"div", "table", "tr", "th", "td", "b", "span"}
            for html in (machine._repr_html_(), session._repr_html_()):
                assert set(Cells(html).tags) <= plain
                assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", html)

    trio.run(main)


def test_notebook_shows_first_machines_of_many_and_counts_the_others(monkeypatch):
    monkeypatch.setattr(_repr, "_ROWS", 2)

    async def main() -> None:
        async with bm.AsyncSession(InProcessSystem()) as session:
            await session.start(5, services={"Work": Work()})
            html = session._repr_html_()
            assert len(rows(html)) == 2
            assert "… and 3 more" in html
            assert "5 machines RUNNING" in html

    trio.run(main)
