"""Azure bans some words in the names of resources; a session may be named after its computer."""

from __future__ import annotations

import pytest

from bigmachine._identity import Authority
from tests.support.azure.orphans import add_orphan


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize("word", ["windows", pytest.param("microsoft", marks=pytest.mark.long)])
def test_session_is_named_after_a_computer_whose_name_has_a_banned_word(run, arm, word):
    session = f"my-{word}-pc-0123abcd.bigmachine"

    async def test(kit):
        kit.request._authority = Authority(session)
        [instance] = await kit.start()
        found = await kit.other().system.instances()
        assert {one.session for one in found} == {session}
        assert arm.vms.by_name(instance.id)

    run(test)
    assert len(arm.vms.ended) == 1


@pytest.mark.usefixtures("consistent")
def test_disk_that_such_a_session_has_left_is_known_by_its_name(run, arm):
    session = "my-windows-pc-0123abcd.bigmachine"

    async def test(kit):
        name = "bm-my-wind0ws-pc-0123abcd-m3_OsDisk_1_0"
        add_orphan(arm, "Microsoft.Compute/disks", name)
        [disk] = await kit.system.instances()
        assert disk.session == session
        await kit.system.stop(disk)

    run(test)
