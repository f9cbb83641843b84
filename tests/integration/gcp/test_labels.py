"""Names, labels and descriptions say whose a resource is, within Google's rules."""

from __future__ import annotations

import json

from bigmachine.boot import Driver
from bigmachine_gcp import GcpOptions
from bigmachine_gcp.options import _labels as labels

SESSION = "main-0123abcd.bigmachine"
DRIVER = Driver(1, 2, "abc", host="laptop", user="ada", command="train.py --epochs")
OPTIONS = GcpOptions()


def test_labels_are_the_users_and_those_of_bigmachine():
    o = GcpOptions(labels=("team=ml",))
    assert labels.session_labels(SESSION, o) == {
        "team": "ml",
        "bigmachine-session": "main-0123abcd",
    }


def test_filter_has_all_labels():
    assert labels.label_filter(session="main-0123abcd", request="t1") == (
        '(labels.bigmachine-session = "main-0123abcd") (labels.bigmachine-request = "t1")'
    )
    assert labels.label_filter(session="*") == "(labels.bigmachine-session:*)"


def test_description_names_the_driver_and_leaves_out_details_if_told():
    fields = labels.parse_description(labels.description(SESSION, DRIVER, OPTIONS))
    assert fields.pop("started").endswith("Z")
    assert fields == {
        "session": SESSION,
        "driver": "1-2-abc",
        "host": "laptop",
        "user": "ada",
        "command": "train.py --epochs",
    }
    o = GcpOptions(detailed_description=False, immortal=True, port=443)
    fields = labels.parse_description(labels.description(SESSION, DRIVER, o))
    assert not {"user", "command"} & fields.keys()
    assert (fields["immortal"], fields["port"]) == ("yes", "443")


def test_description_is_short_and_ascii_whatever_the_driver_is_called():
    driver = Driver(1, 2, "a" * 40, host="機" * 999, user="é" * 999, command="\u2028" * 999)
    text = labels.description(SESSION, driver, OPTIONS)
    assert text.isascii()
    assert len(text) < 2048


def test_resource_of_others_is_not_taken_for_a_sessions():
    own = labels.description(SESSION, DRIVER, OPTIONS)
    assert labels.session_of("bm-main-0123abcd", own) == SESSION
    assert labels.session_of("bm-main-0123abcd-m3", own) == SESSION
    for name, description in [
        ("web", own),  # copied
        ("bm-main-0123abcde", own),
        ("bm-main-0123abcd", ""),
        ("bm-main-0123abcd", "allows the office"),
        ("bm-main-0123abcd", "[]"),
        ("bm-main-0123abcd", json.dumps({"session": 1})),
        ("bm-main-0123abcd", json.dumps({"session": "main.\ud800"})),
        ("bm-main-0123abcd", "[" * 2000),
    ]:
        assert labels.session_of(name, description) == ""
