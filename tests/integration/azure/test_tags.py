"""Tags say whose a resource is, within Azure's rules."""

from __future__ import annotations

from bigmachine.boot import Driver
from bigmachine_azure import AzureOptions
from bigmachine_azure.options import _tags as tags

SESSION = "main-0123abcd.bigmachine"
DRIVER = Driver(1, 2, "abc", host="laptop", user="ada", command="train.py --epochs")


def test_tags_are_the_users_and_those_of_bigmachine():
    found = tags.session_tags(SESSION, DRIVER, AzureOptions(tags=("team=ml",)))
    assert found.pop("bigmachine-started").endswith("Z")
    assert found == {
        "team": "ml",
        "bigmachine-session": SESSION,
        "bigmachine-driver": "1-2-abc",
        "bigmachine-host": "laptop",
        "bigmachine-user": "ada",
        "bigmachine-command": "train.py --epochs",
    }
    machine = tags.machine_tags(found, "m3.main-0123abcd.bigmachine", "t1")
    assert machine == {**found, "bigmachine-machine": "m3", "bigmachine-request": "t1"}


def test_tags_name_neither_user_nor_command_if_told():
    o = AzureOptions(detailed_tags=False, immortal=True, port=443)
    found = tags.session_tags(SESSION, DRIVER, o)
    assert not {"bigmachine-user", "bigmachine-command"} & found.keys()
    assert (found[tags.IMMORTAL], found[tags.PORT]) == ("yes", "443")


def test_values_are_short_and_plain_whatever_the_driver_is_called():
    driver = Driver(
        1, 2, "a" * 40, host="機" * 999, user="J\xf6rg \U0001f40d", command="a\n\0 b" * 99
    )
    found = tags.session_tags(SESSION, driver, AzureOptions())
    assert found["bigmachine-host"] == "?" * 256
    assert found["bigmachine-user"] == "J?rg ?"
    assert found["bigmachine-command"].startswith("a ba b")
    assert max(map(len, found.values())) == 256
    assert "".join(found.values()).isascii()


def test_warning_names_tags_that_may_make_metadata_unreadable(caplog):
    tags.warn_of_unreadable({"team": "ml", "abteilung": "B\xfcro", "部": ""})
    [line] = caplog.messages
    assert "as in abteilung, 部, a VM may not be able to read its metadata" in line
    caplog.clear()
    tags.warn_of_unreadable({"team": "ml"})
    assert caplog.messages == []


def test_most_tags_of_a_user_leave_room_for_those_of_bigmachine():
    o = AzureOptions(tags=tuple(f"k{i}=" for i in range(38)), immortal=True, port=443)
    assert len(tags.machine_tags(tags.session_tags(SESSION, DRIVER, o), "m1", "t1")) <= 50


def test_resource_of_others_is_not_taken_for_a_sessions():
    own = tags.session_tags(SESSION, DRIVER, AzureOptions())
    for name in ("bm-main-0123abcd", "bm-main-0123abcd-m3_OsDisk_1_ab12", "BM-MAIN-0123ABCD-m3"):
        assert tags.session_of({"name": name, "tags": own}) == SESSION
    assert tags.session_of({"name": "bm-main-0123abcd", "tags": {"Bigmachine-Session": SESSION}})
    for resource in [
        {"name": "web", "tags": own},  # copied
        {"name": "bm-main-0123abcde", "tags": own},
        {"name": "bm-main-0123abcd"},
        {"name": "bm-main-0123abcd", "tags": None},
        {"name": "bm-main-0123abcd", "tags": {"team": SESSION}},
    ]:
        assert tags.session_of(resource) == ""
