"""What machines lack of quotas is told before they are requested; what is unknown lacks nothing."""

from __future__ import annotations

import logging

import pytest

from bigmachine.cloud import Quota, Quotas
from bigmachine.errors import StartError

from .provider import Pool

SMALL, LARGE = Pool("spot", "small", "a"), Pool("spot", "large", "a")
NONE, FULL, SOME = Quota("CPUs", 0, 0, "a"), Quota("CPUs", 8, 7, "a"), Quota("CPUs", 8, 2, "a")


class MadeUpQuotas(Quotas[Pool]):
    system = "madeup"
    account = "account"
    increased_at = "in the shop"
    alternatives = "less"

    def needs(self, offer):
        return {"cpus": {"small": 2, "large": 16}[offer.type_name], "gpus": 1}


@pytest.mark.parametrize("quota", [NONE, FULL])
def test_offer_of_which_the_limit_allows_no_machine_is_not_possible(quota):
    with pytest.raises(StartError) as caught:
        MadeUpQuotas({"cpus": quota}).check([LARGE])
    assert str(caught.value) == (
        f"this account's quota does not allow a single large: 16 of {quota}. Request an increase "
        "(in the shop), or use less"
    )


def test_offers_that_the_limit_allows_are_possible(caplog):
    assert MadeUpQuotas({"cpus": SOME}).check([LARGE, SMALL]) == [SMALL]
    assert MadeUpQuotas({}).check([LARGE, SMALL]) == [LARGE, SMALL]
    assert not caplog.records


def test_quota_that_is_used_up_is_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "bigmachine.madeup"):
        assert MadeUpQuotas({"cpus": FULL}).check([SMALL]) == [SMALL]
    assert caplog.messages == [
        "other resources use this account's quota up just now: 2 of CPUs in a are needed, and the "
        "limit is 8 (7 in use)"
    ]


def test_more_machines_than_there_is_room_for_are_a_warning(caplog):
    quotas = MadeUpQuotas({"cpus": SOME})
    with caplog.at_level(logging.WARNING, "bigmachine.madeup"):
        quotas.warn([SMALL], count=3)
        assert not caplog.records
        quotas.warn([SMALL], count=4)
    assert caplog.messages[0].startswith("4 machines are more than the quota may allow: 8 of CPUs")
