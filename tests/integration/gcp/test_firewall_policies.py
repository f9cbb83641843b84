"""Rules that keep the driver away from machines are found out before anything is purchased."""

from __future__ import annotations

from bigmachine.errors import UsageError
from tests.integration.gcp.plans import ALLOW, plan, planning, refusal
from tests.support.gcp.errors import GceError
from tests.support.gcp.firewall_policies import rule
from tests.support.gcp.gce import PROJECT

NETWORK = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/networks/default"
HTTPS = [{"ipProtocol": "tcp", "ports": ["443"]}]
OURS = [{"ipProtocol": "tcp", "ports": ["22", "7000-7999"]}]


DROPS = [
    [[rule(100, "deny")]],
    [[rule(100, "deny", layer4Configs=OURS)]],
    [[rule(100, "deny", srcIpRanges=["192.0.2.0/24", "2001:db8::/32"])]],
    [[rule(100, "allow", layer4Configs=HTTPS), rule(200, "deny")]],
    [[rule(200, "deny"), rule(300, "allow")]],
    [[{**rule(100, "deny"), "targetResources": [NETWORK]}]],
    [[rule(100, "goto_next"), rule(200, "allow")], [rule(100, "deny")]],
]
MAY_LET_IN = [
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
    [{**rule(100, "deny"), "targetResources": [NETWORK + "-2"]}],
    [{**rule(100, "deny"), "direction": "EGRESS"}],
    [{**rule(100, "deny"), "targetServiceAccounts": ["a@b.iam.gserviceaccount.com"]}],
    [rule(100, "apply_security_profile_group")],
]
OF_THE_NETWORK = [
    ({"priority": 1000}, True),  # it comes before a session's rule, which is like it
    ({"priority": 1001}, False),
    ({"priority": 900, "targetTags": ["database"]}, False),
    ({"priority": 900, "sourceRanges": ["198.51.100.0/24"]}, False),
    ({"priority": 900, "disabled": True}, False),
    ({"priority": 900, "direction": "EGRESS"}, False),
    ({"priority": 900, "denied": [{"IPProtocol": "udp"}]}, False),
]


def test_policy_that_drops_the_drivers_packets_is_told(run, gce):
    async def test(planner):
        for policies in DROPS:
            gce.firewall_policies.all.clear()
            for number, rules in enumerate(policies):
                gce.firewall_policies.add(f"corporate-{number}", *rules)
            said = await planner.refusal(UsageError)
            name = f"corporate-{len(policies) - 1}"
            assert f"of the organization's firewall policy '{name}' drops what comes to d" in said
            assert said.startswith("network: rule ")
            assert f"from {ALLOW} to port 7443, before a session's rule is asked" in said

    planning(run, test)


def test_policy_that_may_let_the_driver_in_is_no_error(run, gce):
    async def test(planner):
        for rules in MAY_LET_IN:
            gce.firewall_policies.all.clear()
            gce.firewall_policies.add("corporate", *rules)
            assert (await planner.plan()).offers

    planning(run, test)


def test_part_of_the_allowed_addresses_may_be_let_in(run, gce):
    gce.firewall_policies.add(
        "corporate", rule(100, "allow", srcIpRanges=["10.1.0.0/16"]), rule(200, "deny")
    )
    assert plan(run, allow=["10.0.0.0/8"]).offers
    assert "corporate" in refusal(run, UsageError, allow=["10.0.0.0/8", "192.0.2.0/24"])


def test_rule_of_the_network_that_denies_counts_if_it_comes_first(run, gce):
    async def test(planner):
        for fields, is_dropped in OF_THE_NETWORK:
            given = {"sourceRanges": ["0.0.0.0/0"], "denied": [{"IPProtocol": "tcp"}], **fields}
            gce.firewalls.add("no-way-in", **given)
            if not is_dropped:
                assert (await planner.plan()).offers
                continue
            said = await planner.refusal(UsageError)
            assert said.startswith("network: the firewall rule 'no-way-in' (priority 1000) drops")
            # by rules of the user's, which may let the driver in
            assert (await planner.plan(network_tags=["mine"], allow=())).offers
            allowed = {"sourceRanges": [ALLOW], "allowed": [{"IPProtocol": "all"}]}
            gce.firewalls.add("but-me", priority=10, **allowed)
            assert (await planner.plan()).offers
            del gce.firewalls.all["but-me"]

    planning(run, test)
    del gce.firewalls.all["no-way-in"]


def test_rules_that_may_not_be_read_are_ignored(run, gce):
    gce.firewall_policies.add("corporate", rule(100, "deny"))
    text = "Required 'compute.networks.getEffectiveFirewalls' permission for 'projects/p'"
    gce.refuse_always("networks.getEffectiveFirewalls", GceError(403, "forbidden", text))
    assert plan(run).offers
