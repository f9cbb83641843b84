"""The transcript on the debugger's page is what a terminal shows for the program above it."""

from __future__ import annotations

import sys

import pexpect
import pytest

from tests.docs.markdown import ROOT, snippets
from tests.support.terminals import shop_on_terminal

PAGE = ROOT / "docs/debugger.md"


@pytest.mark.long
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="its pdb stops one line before")
def test_transcript_is_what_the_terminal_shows(tmp_path):
    found = snippets(PAGE)
    program = next(snippet.text for snippet in found if snippet.language == "python")
    transcript = next(snippet.text for snippet in found if snippet.language == "text")
    shown = ""
    environ = {"TERM": "dumb"}
    with shop_on_terminal(tmp_path, program, environ=environ, encoding="utf-8") as terminal:
        for line in transcript.splitlines():
            if line.startswith("(Pdb "):
                prompt, _, answer = line.partition(") ")
                terminal.expect_exact(f"{prompt}) ")
                shown += terminal.before + terminal.after
                terminal.sendline(answer)
        terminal.expect(pexpect.EOF)
    shown = (shown + terminal.before).replace(str(tmp_path.resolve()), "/home/me")
    lines = [line.rstrip() for line in shown.replace("\r", "").splitlines()]
    assert ["$ python shop.py", *lines] == transcript.splitlines()
