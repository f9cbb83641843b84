"""Instances are bought in the user's order, never twice, and every failure is told."""

from __future__ import annotations

import logging
import math

import pytest
import trio
from trio.testing import MockClock

from bigmachine.cloud import LaunchResult, Refusals
from bigmachine.errors import StartError, UsageError

from .provider import Pool, Refused, Region, RegionLaunch, Single

ALL = [
    Pool(market, type_name, zone)
    for market in ("spot", "on-demand")
    for type_name in ("small", "large")
    for zone in ("a", "b")
]
SMALL = [pool for pool in ALL if pool.type_name == "small"]


def run(test):
    async def main():
        await test(Region())

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def launch(region, pools, count, **options):
    purchase = RegionLaunch(region, pools, **options)
    await purchase.run(count)
    await purchase.confirm()
    return [str(vm.pool) for vm in purchase.vms]


def refuse(region, code, *pools):
    region.refusal = lambda pool: code if pool in pools else ""


@pytest.mark.parametrize("has_fleets", [False, True])
def test_missing_capacity_comes_from_the_next_offer(caplog, has_fleets):
    async def test(region):
        region.capacity = {"spot small in a": 2, "spot small in b": 1}
        bought = await launch(region, SMALL, 5, has_fleets=has_fleets)
        assert bought == [
            *["spot small in a"] * 2,
            "spot small in b",
            *["on-demand small in a"] * 2,
        ]
        assert len(region.live) == 5

    run(test)
    [warning] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warning == (
        "not all machines were launched as preferred:\n  spot small in a, b: POOL: no"
    )


def test_fewer_instances_than_wanted_are_kept_and_said(caplog):
    async def test(region):
        region.capacity = dict.fromkeys(map(str, SMALL), 1)
        assert len(await launch(region, SMALL, 9)) == 4

    run(test)
    assert "fewer machines were launched than requested" in caplog.text


def test_quota_for_some_machines_launches_those():
    async def test(region):
        region.quota = 3
        assert len(await launch(region, SMALL[:1], 7)) == 3
        assert [request.partition(" ")[0] for request in region.requests] == ["7", "3", "3", "1"]

    run(test)


def test_quota_is_not_tried_with_fewer_where_each_machine_is_requested_alone(monkeypatch):
    async def one_by_one(self, count, *, token):
        self._region.requests.append(str(count))
        error = Refused("QUOTA")
        return LaunchResult((), [(pool, error) for pool in self.offers], is_exhausted=True)

    monkeypatch.setattr(Single, "launch", one_by_one)

    async def test(region):
        with pytest.raises(StartError, match="or ask for more"):
            await launch(region, SMALL, 8)
        assert region.requests == ["8", "8"]  # on either market

    run(test)


def test_throttled_request_is_repeated_for_the_rest():
    async def test(region):
        def refusal(pool):
            return "THROTTLED" if pool.zone == "b" and len(region.requests) < 3 else ""

        region.refusal = refusal
        region.capacity = {"spot small in a": 2}
        bought = await launch(region, SMALL[:2], 5, has_fleets=True)
        assert bought == ["spot small in a"] * 2 + ["spot small in b"] * 3
        assert [request.partition(" ")[0] for request in region.requests] == ["5", "3", "3"]

    run(test)


def test_offer_that_gives_nothing_and_no_reason_is_followed_by_the_next():
    async def test(region):
        refuse(region, "NO REASON", SMALL[0])
        assert await launch(region, SMALL, 1) == ["spot small in b"]
        refuse(region, "NO REASON", *SMALL)
        with pytest.raises(StartError, match="Made-up Cloud launched no instance in nowhere-1"):
            await launch(region, SMALL, 1)

    run(test)


def test_way_to_launch_without_offers_is_skipped():
    class Filtering(RegionLaunch):
        def methods(self):
            yield Single(self._region, [])
            yield from super().methods()

    async def test(region):
        purchase = Filtering(region, SMALL)
        await purchase.run(1)
        assert region.requests == ["1 × spot small in a"]

    run(test)


# -- scopes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("POOL", ALL[1:]),
        ("TYPE", [pool for pool in ALL if (pool.market, pool.type_name) != ("spot", "small")]),
        ("TYPE_ON_ALL_MARKETS", [pool for pool in ALL if pool.type_name != "small"]),
        ("ZONE", [pool for pool in ALL if pool.zone != "a"]),
        ("MARKET", [pool for pool in ALL if pool.market != "spot"]),
        ("METHOD", ALL[1:]),
        ("ALL", []),
    ],
)
def test_error_rules_out_what_it_is_about(code, left):
    async def test(region):
        def refusal(pool):
            return code if pool == ALL[0] else "POOL"

        region.refusal = refusal
        with pytest.raises((StartError, UsageError)):
            await launch(region, ALL, 1)
        assert region.requests == [f"1 × {pool}" for pool in [ALL[0], *left]]

    run(test)


def test_market_is_ruled_out_only_if_all_offers_of_a_request_fail_so():
    async def test(region):
        refuse(region, "MARKET", *ALL[:2])
        assert await launch(region, ALL, 1, has_fleets=True) == ["spot large in a"]
        region.capacity = dict.fromkeys(map(str, ALL), 0)
        purchase = RegionLaunch(region, ALL, has_fleets=True)
        await purchase.run(1)
        assert not purchase.ruled_out.covers(ALL[:4])
        refuse(region, "MARKET", *ALL[:4])
        purchase = RegionLaunch(region, ALL, has_fleets=True)
        await purchase.run(1)
        assert purchase.ruled_out.covers(ALL[:4])
        assert not purchase.ruled_out.covers(ALL[3:5])

    run(test)


def test_refused_way_to_launch_is_replaced_by_another_for_good():
    async def test(region):
        refuse(region, "METHOD", *ALL)
        purchase = RegionLaunch(region, SMALL, has_fleets=True)

        def refusal(pool):
            return "METHOD" if "," in region.requests[-1] else "POOL" if pool != SMALL[2] else ""

        region.refusal = refusal
        await purchase.run(1)
        assert [str(vm.pool) for vm in purchase.vms] == ["on-demand small in a"]
        assert [request.count(",") for request in region.requests] == [1, 0, 0, 0]

    run(test)


# -- refusals are remembered ------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "is_remembered"),
    [
        ("TYPE", True),
        ("TYPE_ON_ALL_MARKETS", True),
        ("METHOD", True),
        ("DENIED", True),
        ("POOL", False),
        ("QUOTA", False),
        ("ZONE", False),
    ],
)
def test_later_start_does_not_request_what_is_refused_to_the_account(
    monkeypatch, code, is_remembered
):
    async def test(region):
        def refusal(pool):
            if code == "METHOD":
                return code if "," in region.requests[-1] else ""
            return code if pool == pools[0] else ""

        async def buy():
            before = len(region.requests)
            purchase = RegionLaunch(region, pools, has_fleets=code == "METHOD", refusals=refusals)
            await purchase.run(1)
            assert len(purchase.vms) == 1
            return region.requests[before:]

        pools, refusals = [SMALL[0], *ALL[2:]], Refusals()
        region.refusal = refusal
        first = await buy()
        assert len(first) == 2
        assert await buy() == (first[1:] if is_remembered else first)
        monkeypatch.setattr("bigmachine.cloud.launch._scope._REMEMBERED_SECONDS", 0.0)
        assert await buy() == first

    run(test)


def test_remembered_refusals_are_requested_again_if_nothing_else_is_left():
    async def test(region):
        refusals = Refusals()
        refuse(region, "TYPE", *SMALL)
        with pytest.raises(StartError):
            await launch(region, SMALL, 1, refusals=refusals)
        region.refusal = lambda pool: ""
        assert await launch(region, SMALL, 1, refusals=refusals) == ["spot small in a"]

    run(test)


# -- lost answers ---------------------------------------------------------------------


@pytest.mark.parametrize("listed_after", [0.0, 15.0])
def test_instances_of_a_lost_answer_are_used_and_not_bought_again(listed_after):
    async def test(region):
        region.losses, region.listed_after = 1, listed_after
        assert await launch(region, SMALL, 3) == ["spot small in a"] * 3
        assert len(region.requests) == 1
        assert len(region.live) == 3

    run(test)


def test_partial_success_of_a_lost_answer_is_used():
    async def test(region):
        region.losses, region.capacity = 1, {"spot small in a": 2}
        assert await launch(region, SMALL[:1], 3) == ["spot small in a"] * 2
        assert len(region.live) == 2

    run(test)


def test_instances_that_are_listed_too_late_are_terminated():
    async def test(region):
        region.losses, region.listed_after = 1, 30.0
        purchase = RegionLaunch(region, SMALL)
        await purchase.run(3)
        assert purchase.vms == []
        assert len(region.requests) == 1  # what that one bought is not known
        await trio.sleep(60)
        with pytest.raises(StartError, match="what to do about UNKNOWN"):
            await purchase.confirm()
        assert region.live == []
        assert len(region.ended) == 3

    run(test)


def test_unknown_purchase_that_cannot_be_listed_is_an_error_and_undone_later():
    async def test(region):
        region.capacity = {"spot small in a": 1}
        purchase = RegionLaunch(region, SMALL)
        await purchase.run(1)
        region.losses, region.is_listing_down = 1, True
        with pytest.raises(Refused, match="DOWN"):
            await purchase.run(3)
        region.is_listing_down = False
        await purchase.undo()
        assert region.live == []

    run(test)


def test_unknown_purchase_that_takes_too_long_to_list_is_its_error():
    async def test(region):
        region.losses, region.seconds = 1, 300.0
        with pytest.raises(Refused, match="UNKNOWN"):
            await launch(region, SMALL, 3)
        assert len(region.requests) == 1

    run(test)


# -- messages, and the end ------------------------------------------------------------


@pytest.mark.parametrize(("code", "kind"), [("ALL", UsageError), ("DENIED", StartError)])
def test_only_error_tells_the_user_what_to_do(code, kind):
    async def test(region):
        refuse(region, code, *ALL)
        with pytest.raises(kind) as caught:
            await launch(region, ALL, 1)
        assert str(caught.value) == f"what to do about {code}"

    run(test)


def test_error_after_others_shows_them_all():
    async def test(region):
        region.refusal = lambda pool: "POOL" if pool.market == "spot" else "ALL"
        with pytest.raises(UsageError) as caught:
            await launch(region, ALL, 1)
        assert str(caught.value) == (
            "what to do about ALL\n"
            "Made-up Cloud launched no instance in nowhere-1. What was tried, and the answers:\n"
            "  spot small in a, b: POOL: no\n"
            "  spot large in a, b: POOL: no\n"
            "  on-demand small in a: ALL: no"
        )

    run(test)


@pytest.mark.parametrize(
    ("code", "advice"), [("POOL", "try again later"), ("QUOTA", "ask for more")]
)
def test_shortage_says_what_else_to_try(code, advice):
    async def test(region):
        region.refusal = lambda pool: "TYPE" if pool.type_name == "small" else code
        with pytest.raises(StartError) as caught:
            await launch(region, ALL, 1)
        assert str(caught.value).endswith(
            f"\nName other types or zones, allow another market or price, use another region, or "
            f"{advice}."
        )

    run(test)


def test_denied_offers_are_advised_about_though_others_were_launched(caplog):
    async def test(region):
        refuse(region, "DENIED", *SMALL[:2])
        assert await launch(region, SMALL, 1) == ["on-demand small in a"]

    run(test)
    assert "spot small in a: DENIED: no\nwhat to do about DENIED" in caplog.text


def test_offers_without_a_zone_are_shown_without():
    async def test(region):
        pools = [Pool("spot", "small", "")]
        refuse(region, "POOL", *pools)
        with pytest.raises(StartError, match="\n  spot small: POOL: no\n"):
            await launch(region, pools, 1)

    run(test)


def test_undo_terminates_known_instances_though_others_cannot_be_listed(caplog):
    async def test(region):
        purchase = RegionLaunch(region, SMALL)
        await purchase.run(2)
        region.losses, region.is_listing_down = 1, True
        with pytest.raises(Refused):
            await purchase.run(3)
        [lost] = [vm for vm in region.live if vm not in purchase.vms]
        await purchase.undo()
        assert region.live == [lost]

    run(test)
    assert "instances of a failed start may run until the session ends" in caplog.text


def test_undo_is_not_cancelled_but_takes_minutes_at_most(caplog):
    async def test(region):
        purchase = RegionLaunch(region, SMALL)
        await purchase.run(2)
        region.seconds = 100.0
        with trio.move_on_after(1):
            assert await purchase.undo() == []
        assert region.live == []
        assert not caplog.records
        await purchase.run(4)
        region.seconds = math.inf
        began = trio.current_time()
        assert await purchase.undo() == purchase.vms
        assert trio.current_time() < began + 300

    run(test)
    assert "instances are not confirmed terminated" in caplog.text


def test_pool_whose_instances_did_not_last_is_not_requested_again():
    async def test(region):
        purchase = RegionLaunch(region, ALL)
        await purchase.run(1)
        [first] = purchase.vms
        assert purchase.note_lost([(first, first.pool, Refused("POOL"))])
        await purchase.run(2)
        assert first.pool not in {vm.pool for vm in purchase.vms}
        assert {vm.pool.market for vm in purchase.vms} == {"spot"}

    run(test)


def test_instances_that_do_not_come_up_are_replaced_by_other_offers(caplog):
    async def test(region):
        purchase = RegionLaunch(region, ALL)
        await purchase.run(3)
        first, *others = purchase.vms
        assert not purchase.note_lost([])
        assert purchase.note_lost([(vm, vm.pool, Refused("MARKET")) for vm in (first, others[0])])
        assert purchase.vms == others[1:]
        await purchase.run(3)
        await purchase.confirm()
        bought = [str(vm.pool) for vm in purchase.vms]
        assert bought == ["spot small in a"] + ["on-demand small in a"] * 2
        lost = [(vm, vm.pool, Refused("MARKET")) for vm in purchase.vms]
        assert not purchase.note_lost(lost[1:])  # nothing else is left

    run(test)
    assert "spot small in a: MARKET: no" in caplog.text
