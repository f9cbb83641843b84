from bigmachine.cloud import MachineNames


def test_names_are_used_again_only_if_nothing_has_them():
    names = MachineNames(f"m{i}" for i in range(99))
    first = names.take(3)
    names.give_back(first[1:])
    assert names.take(3) == ["m1", "m2", "m3"]
