"""``bigmachine azure setup`` makes what machines end themselves with, and undoes exactly that."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bigmachine.cli import main
from tests.integration.azure.plain_requests import ask, vm_body
from tests.support.azure.arm import LOCATION, SUBSCRIPTION
from tests.support.azure.fixtures import own_identity

NAME = "bigmachine-westeurope"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{NAME}"
IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
IDENTITY = f"{GROUP}/providers/{IDENTITIES}/bigmachine"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/m0"
DENIED = "Microsoft.Authorization/roleDefinitions/write"


@pytest.fixture
def setup(arm, consistent, capsys):
    """Run the command; return its exit status and what it printed. There is no identity yet."""
    arm.resources.remove(own_identity(arm))
    arm.roles.definitions.clear()
    arm.roles.assignments.clear()

    def setup(*arguments):
        options = (f"location={LOCATION}", f"endpoint_url={arm.url}", "tags=team=ml")
        given = [text for option in options for text in ("-o", option)]
        status = main(["azure", "setup", *arguments, *given])
        out, err = capsys.readouterr()
        return status, out + err

    return setup


def made(arm):
    """Return what there is of identities, roles and assignments."""
    identities = [of["name"] for of in arm.resources.of_type(IDENTITIES)]
    return [*identities, *(text.split()[0:2] for text in arm.roles.leftovers())]


def test_setup_makes_what_a_machine_needs_and_undo_removes_exactly_that(arm, setup):
    status, text = setup()
    assert (status, text.splitlines()) == (
        0,
        [
            f"created the role 'bigmachine in {NAME} of {SUBSCRIPTION}'",
            "created the identity 'bigmachine'",
            f"the identity may delete VMs in the resource group {NAME}",
            "sessions there use it from now on: `bigmachine check azure`, with the same options, "
            "shows whether they would work",
        ],
    )
    [role] = arm.roles.definitions.values()
    assert role["properties"]["assignableScopes"] == [GROUP]
    [identity] = arm.resources.of_type(IDENTITIES)
    assert (identity["tags"]["team"], identity["location"]) == ("ml", LOCATION)
    status, text = setup()  # once more
    assert (status, text.count("found the")) == (0, 2)
    assert len(arm.roles.assignments) == 1
    status, text = setup("--undo")
    assert (status, text.count("deleted the"), text.count("is kept")) == (0, 2, 1)
    assert made(arm) == []
    assert NAME in [of["name"] for of in arm.groups.all.values()]
    status, text = setup("--undo")
    assert (status, text.splitlines()[0]) == (
        0,
        f"there is nothing to undo in the resource group {NAME}",
    )


def test_undo_without_a_resource_group_says_that_there_is_none(setup):
    assert setup("--undo") == (
        0,
        f"there is nothing to undo: there is no resource group {NAME}\n",
    )


def test_machine_deletes_its_vm_with_all_that_is_its(arm, setup, consistent):
    assert setup()[0] == 0
    network = arm.networks.add("net", group=NAME)
    assert ask(arm, "PUT", VM, vm_body(network, identity=IDENTITY))[0] == 201
    arm.advance(5)
    [identity] = arm.resources.of_type(IDENTITIES)
    machine = arm.identities.principal(identity)
    assert ask(arm, "DELETE", GROUP, user=machine)[0] == 403
    status, text = setup("--undo")
    assert (status, "is not removed while VMs use it" in text, "m0" in text) == (2, True, True)
    assert ask(arm, "DELETE", VM, user=machine)[0] == 202
    arm.advance(5)
    assert arm.leftovers() == []
    assert setup("--undo")[0] == 0


def test_providers_are_registered_first(arm, setup):
    arm.places.registrations["Microsoft.ManagedIdentity"] = "NotRegistered"
    status, text = setup()
    assert (status, text.splitlines()[0]) == (
        0,
        "registered Microsoft.ManagedIdentity for the subscription",
    )
    assert setup("--undo")[0] == 0


@pytest.mark.parametrize("action", [DENIED, "Microsoft.Authorization/roleAssignments/write"])
def test_nothing_new_is_left_where_the_caller_may_not_grant_roles(arm, setup, action):
    arm.access.denied.add(action)
    status, text = setup()
    assert (status, action in text) == (2, True)
    assert "have a role granted that includes it" in text
    assert made(arm) == []


def test_identity_of_somebody_else_is_kept(arm, setup):
    arm.groups.add(NAME, location=LOCATION)
    arm.identities.add("bigmachine", group=NAME)
    assert setup()[0] == 0
    status, text = setup("--undo")
    assert (status, "kept the identity 'bigmachine', which somebody else" in text) == (0, True)
    assert made(arm) == ["bigmachine"]
    arm.resources.remove(IDENTITY)


def test_assignment_of_an_identity_that_was_deleted_is_no_obstacle(arm, setup):
    assert setup()[0] == 0
    ask(arm, "DELETE", IDENTITY)
    assert setup()[0] == 0
    assert len(arm.roles.assignments) == 2
    assert setup("--undo")[0] == 0
    assert made(arm) == []


def test_what_is_new_need_not_be_found_at_once(arm, setup):
    arm.chance.probability = 1.0
    assert setup()[0] == 0
    assert setup("--undo")[0] == 0
    assert made(arm) == []


def test_lost_answers_are_no_obstacle(arm, setup):
    for method in ("user_assigned_identities.create_or_update", "role_assignments.create"):
        arm.lose_answer(method)
    assert setup()[0] == 0
    assert setup("--undo")[0] == 0


def test_bad_option_is_told_before_anything_is_asked(arm, capsys):
    assert main(["azure", "setup", "-o", "location=us-east-1"]) == 2
    assert "which is a place of AWS" in capsys.readouterr().err
    assert arm.asked == []


def test_lock_of_the_resource_group_is_told(arm, setup):
    assert setup()[0] == 0
    arm.access.locked.add(NAME)
    status, text = setup("--undo")
    assert (status, "a lock forbids the change: have it removed" in text) == (2, True)
    arm.access.locked.clear()
    assert setup("--undo")[0] == 0


def test_help_does_not_import_the_sdk():
    code = (
        "import sys, json\nfrom bigmachine.cli import main\n"
        "try: main(['azure', '--help'])\nexcept SystemExit: pass\n"
        "print(json.dumps([name for name in ('azure', 'msal', 'httpx') if name in sys.modules]))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "create the managed identity" in out
    assert json.loads(out.splitlines()[-1]) == []
