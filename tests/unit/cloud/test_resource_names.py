"""Names of resources say session and machine, within the rules of all clouds."""

from __future__ import annotations

import re

from bigmachine.cloud import session_label, session_resource_name, vm_name

SESSION = "main-0123abcd.bigmachine"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def test_names_say_session_and_machine():
    assert vm_name(SESSION, "m3.main-0123abcd.bigmachine") == "bm-main-0123abcd-m3"
    assert session_resource_name(SESSION) == "bm-main-0123abcd"


def test_sessions_in_different_domains_have_different_names():
    other = "main-0123abcd.bigmachines"
    assert session_label(other).startswith("main-0123abcd-")
    assert NAME.fullmatch(vm_name(other, "m3.main-0123abcd.bigmachines"))
    assert session_label(SESSION) == session_label("main-0123abcd")


def test_long_name_is_cut_but_keeps_what_makes_it_unique():
    name = vm_name("x" * 80 + "-0123abcd.bigmachine", "m123456")
    assert NAME.fullmatch(name)
    assert name.endswith("-0123abcd-m123456")
