"""VMs are launched in the user's order, named and tagged on creation, and never twice."""

from __future__ import annotations


def test_each_machine_is_one_request(run, arm):
    async def test(kit):
        instances = await kit.start(3)
        print(instances)
        assert [i.name for i in instances] == [f"m{i}.test-0123abcd.bigmachine" for i in range(3)]
        print(len(arm.asked), [c.method for c in arm.asked])

    run(test)
