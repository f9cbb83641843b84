"""Text of machines and providers is harmless on a terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import bigmachine as bm
from bigmachine.errors import sanitize, sanitize_line

SANITIZED = {
    # Text stays.
    "plain text": "plain text",
    "tab\tnewline\n": "tab\tnewline\n",
    "é 漢字 🙂 שלום\u00a0x": "é 漢字 🙂 שלום\u00a0x",
    "👩\u200d🔬": "👩\u200d🔬",
    # Escape sequences are removed.
    "\x1b]0;title\x07a": "a",
    "\x1b]2;title\x1b\\a": "a",
    "\x1b]52;c;aGVsbG8=\x07a": "a",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\": "link",
    "\x1b[5A\x1b[2J\x1b[3J\x1b[1;1Ha": "a",
    "\x1b[6n\x1b[c\x1b[>c\x1b[18ta": "a",
    "\x1b[?1049h\x1b[?25la": "a",
    "\x1b[>4;2ma": "a",  # of xterm: not a color, though it ends like one
    "\x1bc\x1b7\x1b8\x1b(0\x1b#8a": "a",
    "\x1bP$q q\x1b\\\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\a": "a",
    "\x9b2J\x9d0;title\x07\x90dcs\x9ca": "a",
    "\x1b[31mred\x1b[0m": "red",
    # Whatever is not whole does no harm.
    "\x1b": "\\x1b",
    "a\x1b[31": "a31",
    "\x1b]0;title": "0;title",
    "\x1b\x1b[31m[2J": "\\x1b[2J",
    "\x1b[3\x07m": "3\\x07m",
    "\x9d0;title": "\\x9d0;title",
    "\x1b]0;a\nb\x07": "0;a\nb\\x07",
    # Other control characters are shown.
    "nul \0 bell \a": "nul \\x00 bell \\x07",
    "\v\f\x0e\x0f\x7f\x85\x80": "\\x0b\\x0c\\x0e\\x0f\\x7f\\x85\\x80",
    "\u202egnp.exe\u2066\u2069": "\\u202egnp.exe\\u2066\\u2069",
    "a\u2028b\u2029c": "a\\u2028b\\u2029c",
    "\udc80": "\\udc80",
    # What is overwritten is left out.
    "m0\rm1: forged": "m1: forged",
    "  0%\r 50%\r100%\r": "100%",
    "dos\r\nlines\r\n": "dos\nlines\n",
    "12%\b\b\b13%": "13%",
    "\b\b\ba": "a",
}


@pytest.mark.parametrize("text", SANITIZED, ids=ascii)
def test_text_is_sanitized(text):
    assert sanitize(text) == SANITIZED[text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred", "\x1b[31mred\x1b[0m"),
        ("\x1b[38;2;1;2;3mrgb\x1b[m x", "\x1b[38;2;1;2;3mrgb\x1b[m x\x1b[0m"),
        ("\x1b[4:3mcurly\nnext", "\x1b[4:3mcurly\x1b[0m\nnext"),
        ("no \x1b[2J color", "no  color"),
        ("\x1b[>4;2m\x9b31mx", "x"),
    ],
)
def test_colors_stay_if_wanted_and_end_with_their_line(text, expected):
    assert sanitize(text, colors=True) == expected


def test_one_line_stays_one_line():
    assert sanitize_line("i-1\nm1  i-2\x1b[2J\r\n") == "i-1\\nm1  i-2\\n"


HARMLESS = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]*")
SGR = re.compile(r"\x1b\[[0-9;:]*m")

terminal_text = st.text(
    st.sampled_from("\x1b\x9b\x9d\x90\x9c\x07[]()PX^_\\;:?>0123mJAhcn \n\r\bab")
)


@given(st.text() | terminal_text)
@example("\x1b]\x1b[\x1b\\m")
def test_no_text_has_control_characters_once_sanitized(text):
    clean = sanitize(text)
    assert HARMLESS.fullmatch(clean)
    assert sanitize(clean) == clean
    assert "\n" not in sanitize_line(text)
    for line in sanitize(text, colors=True).split("\n"):
        assert HARMLESS.fullmatch(SGR.sub("", line))
        assert line.endswith("\x1b[0m") or "\x1b" not in line


def test_messages_of_errors_are_sanitized():
    evil = "evil \x1b]0;title\x07\x1b[2J\0"
    errors = [
        bm.StartError(evil),
        bm.MachineStopped(evil, machine="m0"),
        bm.MachineStopped("m0 stopped", machine="m0", output=f"first\n{evil}"),
        bm.BootError("m0 did not boot", machine="m0", console=f"first\n{evil}"),
        bm.RemoteError("failed", traceback=f"Traceback\n  {evil}"),
    ]
    for error in errors:
        assert str(error).endswith("evil \\x00")
    assert str(bm.Notice("interruption", evil)) == "evil \\x00"


def test_message_of_stopped_machine_quotes_a_few_lines_of_bounded_length():
    output = "\n".join(f"{i} {'x' * 5000}" for i in range(100))
    error = bm.MachineStopped("m0 stopped: why", machine="m0", output=output)
    first, heading, *quoted = str(error).split("\n")
    assert (first, heading) == ("m0 stopped: why", "The last lines of m0:")
    assert [line.split()[0] for line in quoted] == [str(i) for i in range(80, 100)]
    assert all(len(line) < 1010 for line in quoted)
    assert error.output == output
