"""The driver reaches its machines, and only the driver and the machines' subnet do."""

from __future__ import annotations

import pytest

from tests.support.azure.errors import ArmError

ALLOWED = "192.0.2.7/32"  # by the `Kit`
MOVED = "198.51.100.4/32"
SUBNET = "10.77.0.0/16"
PUT = "network_security_groups.create_or_update"


def move(kit, block=MOVED):
    """Let the driver be elsewhere, as its next look-up shows."""

    async def look_up():
        return [block]

    kit.system.access._driver._look_up = look_up


def group(arm):
    [found] = arm.resources.of_type("Microsoft.Network/networkSecurityGroups")
    assert found["name"] == "bm-test-0123abcd"
    return found


def rules(arm):
    """Return the rules of the session's group: sources, ports and what is done, by priority."""
    found = sorted(arm.security_groups.rules_of(group(arm)["id"]), key=lambda one: one["priority"])
    return [
        (
            one.get("sourceAddressPrefixes") or [one["sourceAddressPrefix"]],
            one.get("destinationPortRanges") or [one["destinationPortRange"]],
            one["access"],
        )
        for one in found
    ]


DENY_REST = (["*"], ["*"], "Deny")


@pytest.mark.usefixtures("consistent")
def test_group_lets_driver_and_subnet_in_on_one_port_and_nobody_else(run, arm):
    async def test(kit):
        [instance] = await kit.start()
        await kit.system.start(1, kit.request)
        assert rules(arm) == [
            (["10.0.0.0/9", ALLOWED], ["7443"], "Allow"),
            ([SUBNET], ["7443"], "Allow"),
            DENY_REST,
        ]
        assert arm.count(PUT) == 1
        nic = arm.interfaces.of_vm(arm.vms.by_name(instance.id).id)[0]
        assert nic["properties"]["networkSecurityGroup"]["id"].lower() == group(arm)["id"].lower()

    run(test, allow=["192.0.2.7", ALLOWED, "10.0.0.0/9", "10.1.0.0/16"])


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_driver_is_let_in_at_its_new_address_and_not_at_its_old_one(run, arm, tmp_path, caplog):
    (key := tmp_path / "key.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBYm me\n")

    async def test(kit):
        instances = await kit.start()
        await kit.system.restore_access(instances)  # where it was
        assert arm.count(PUT) == 1
        move(kit)
        await kit.system.restore_access(instances)
        assert rules(arm) == [
            ([MOVED], ["7443", "22"], "Allow"),
            ([SUBNET], ["7443"], "Allow"),
            DENY_REST,
        ]
        assert group(arm)["tags"]["bigmachine-session"] == kit.request.session
        assert f"from {ALLOWED} to {MOVED}" in caplog.text
        assert "is restored" not in caplog.text

    run(test, ssh_key=str(key))


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize(
    "how",
    [
        "widened",
        pytest.param("narrowed", marks=pytest.mark.long),
        pytest.param("emptied", marks=pytest.mark.long),
    ],
)
def test_group_that_somebody_has_changed_is_restored(run, arm, caplog, how):
    async def test(kit):
        instances = await kit.start()
        before = rules(arm)
        own = group(arm)["properties"]["securityRules"]
        if how == "widened":
            own[0]["properties"]["sourceAddressPrefixes"] = ["0.0.0.0/0"]
        elif how == "narrowed":
            own[1]["properties"]["access"] = "Deny"
        else:
            own.clear()
        group(arm)["tags"]["team"] = "ml"  # which is theirs, and kept
        await kit.system.restore_access(instances)
        assert rules(arm) == before
        assert group(arm)["tags"]["team"] == "ml"
        assert "somebody has changed or deleted the session's firewall" in caplog.text

    run(test)


@pytest.mark.long
def test_group_that_azure_describes_in_other_words_is_not_changed(run, arm):
    def reworded(answer):
        for rule in answer["properties"]["securityRules"]:
            of = rule["properties"]
            if sources := of.pop("sourceAddressPrefixes", None):
                of["sourceAddressPrefix"] = sources[0]
            if ports := of.pop("destinationPortRanges", None):
                of["destinationPortRange"] = ports[0]
        return answer

    async def test(kit):
        instances = await kit.start()
        arm.edit("network_security_groups.get", reworded)
        before = arm.count(PUT)
        await kit.system.restore_access(instances)
        assert arm.count(PUT) == before

    run(test)


@pytest.mark.long
def test_driver_that_may_not_change_its_group_is_told_once(run, arm, caplog):
    async def test(kit):
        instances = await kit.start()
        denied = "… to perform action 'Microsoft.Network/networkSecurityGroups/write' over scope …"
        arm.refuse_always(PUT, ArmError(403, "AuthorizationFailed", denied))
        move(kit)
        for _ in range(3):
            await kit.system.restore_access(instances)
        assert rules(arm)[0][0] == [ALLOWED]
        assert caplog.text.count("can't be let in at its new address") == 1

    run(test)


@pytest.mark.long
def test_lost_answer_and_other_changes_of_the_group_are_no_error(run, arm):
    async def test(kit):
        arm.lose_answer(PUT)
        busy = ArmError(429, "RetryableError", "A retryable error occurred.")
        arm.refuse(PUT, busy, times=2)
        await kit.start()
        assert rules(arm)[0] == ([ALLOWED], ["7443"], "Allow")

    run(test)


@pytest.mark.long
def test_group_whose_creation_has_no_answer_is_freed(run, arm, monkeypatch):
    monkeypatch.setattr("bigmachine_azure.api._api._ATTEMPTS", 1)
    monkeypatch.setattr("bigmachine_azure.resources._security_group._UPDATE_SECONDS", 0.0)

    async def test(kit):
        system = await kit.setup()
        arm.lose_answer(PUT, times=5)
        with pytest.raises(Exception, match="ServiceUnavailable|temporarily"):
            await system.start(1, kit.request)
        assert group(arm)
        await system.shutdown()
        assert arm.leftovers() == []

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_driver_dials_public_addresses_and_machines_private_ones(run, arm):
    async def test(kit):
        [instance] = await kit.start()
        host = instance.address.partition(":")[0]
        assert host.startswith("10.77.")
        reached = kit.system.access.addresses._external[host]
        [address] = arm.resources.of_type("Microsoft.Network/publicIPAddresses")
        assert reached == address["properties"]["ipAddress"]

    run(test)
