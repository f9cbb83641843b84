"""Rules that keep the driver away from machines are found out before anything is purchased."""

from __future__ import annotations

import pytest

from bigmachine.errors import UsageError
from tests.integration.gcp.plans import ALLOW, plan, refusal
from tests.support.gcp.errors import GceError
from tests.support.gcp.firewall_policies import rule

HTTPS = [{"ipProtocol": "tcp", "ports": ["443"]}]
OURS = [{"ipProtocol": "tcp", "ports": ["22", "7000-7999"]}]


@pytest.mark.parametrize(
    "policies",
    [
        [[rule(100, "deny")]],
        [[rule(100, "deny", layer4Configs=OURS)]],
        [[rule(100, "deny", srcIpRanges=["192.0.2.0/24", "2001:db8::/32"])]],
        [[rule(100, "allow", layer4Configs=HTTPS), rule(200, "deny")]],
        [[rule(200, "deny"), rule(300, "allow")]],
        [[rule(100, "goto_next"), rule(200, "allow")], [rule(100, "deny")]],
    ],
)
def test_policy_that_drops_the_drivers_packets_is_told(run, gce, policies):
    for number, rules in enumerate(policies):
        gce.firewall_policies.add(f"corporate-{number}", *rules)
    said = refusal(run, UsageError)
    name = f"corporate-{len(policies) - 1}"
    assert f"of the organization's firewall policy '{name}' drops what comes to default" in said
    assert said.startswith("network: rule ")
    assert f"from {ALLOW} to port 7443, before a session's rule is asked" in said


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [rule(100, "allow"), rule(200, "deny")],
        [rule(100, "goto_next"), rule(200, "deny")],
        [rule(100, "deny", layer4Configs=HTTPS)],
        [rule(100, "deny", layer4Configs=[{"ipProtocol": "udp"}])],
        [rule(100, "deny", srcIpRanges=["198.51.100.0/24"])],
        [rule(100, "allow", srcIpRanges=["192.0.2.0/24"]), rule(200, "deny")],
        # what can't be known here: whether this computer is in such a country
        [rule(100, "allow", srcIpRanges=[], srcRegionCodes=["DE"]), rule(200, "deny")],
        [{**rule(100, "deny"), "disabled": True}],
        [{**rule(100, "deny"), "direction": "EGRESS"}],
        [{**rule(100, "deny"), "targetServiceAccounts": ["a@b.iam.gserviceaccount.com"]}],
        [rule(100, "apply_security_profile_group")],
    ],
)
def test_policy_that_may_let_the_driver_in_is_no_error(run, gce, rules):
    gce.firewall_policies.add("corporate", *rules)
    assert plan(run).offers


def test_part_of_the_allowed_addresses_may_be_let_in(run, gce):
    gce.firewall_policies.add(
        "corporate", rule(100, "allow", srcIpRanges=["10.1.0.0/16"]), rule(200, "deny")
    )
    assert plan(run, allow=["10.0.0.0/8"]).offers
    assert "corporate" in refusal(run, UsageError, allow=["10.0.0.0/8", "192.0.2.0/24"])


@pytest.mark.parametrize(
    ("fields", "is_dropped"),
    [
        ({"priority": 1000}, True),  # it comes before a session's rule, which is like it
        ({"priority": 1001}, False),
        ({"priority": 900, "targetTags": ["database"]}, False),
        ({"priority": 900, "sourceRanges": ["198.51.100.0/24"]}, False),
        ({"priority": 900, "disabled": True}, False),
        ({"priority": 900, "direction": "EGRESS"}, False),
        ({"priority": 900, "denied": [{"IPProtocol": "udp"}]}, False),
    ],
)
def test_rule_of_the_network_that_denies_counts_if_it_comes_first(run, gce, fields, is_dropped):
    given = {"sourceRanges": ["0.0.0.0/0"], "denied": [{"IPProtocol": "tcp"}], **fields}
    gce.firewalls.add("no-way-in", **given)
    if is_dropped:
        said = refusal(run, UsageError)
        assert said.startswith("network: the firewall rule 'no-way-in' (priority 1000) drops what")
        gce.firewalls.add(
            "but-me", priority=10, sourceRanges=[ALLOW], allowed=[{"IPProtocol": "all"}]
        )
    assert plan(run).offers
    gce.firewalls.all.pop("but-me", None)
    assert plan(run, network_tags=["mine"], allow=()).offers  # whose rules are the user's
    del gce.firewalls.all["no-way-in"]


def test_rules_that_may_not_be_read_are_ignored(run, gce):
    gce.firewall_policies.add("corporate", rule(100, "deny"))
    text = "Required 'compute.networks.getEffectiveFirewalls' permission for 'projects/p'"
    gce.refuse_always("networks.getEffectiveFirewalls", GceError(403, "forbidden", text))
    assert plan(run).offers
