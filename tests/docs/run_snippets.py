"""Run the Python snippets of Markdown files, one after the other, as one ``__main__`` a file.

It is started once: for each path that it reads, it forks, and prints the child's exit status. So
`bigmachine` is imported once for all pages, which costs more than the snippets of most.
"""

from __future__ import annotations

import faulthandler
import linecache
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import bigmachine as bm
from tests.docs.markdown import snippets

bm.Session, bm.AsyncSession  # imported when they are first named
TIMEOUT = 60.0  # seconds; pages take a few


def wait_for_page() -> Path | None:
    """Return the next page in a child of this process, which is where it runs; None at the end."""
    for line in sys.stdin:
        page, folder, errors = line.rstrip("\n").split("\t")
        if pid := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            continue
        os.chdir(folder)
        null, file = os.open(os.devnull, os.O_RDWR), os.open(errors, os.O_WRONLY | os.O_CREAT)
        os.dup2(null, 0), os.dup2(null, 1), os.dup2(file, 2)
        faulthandler.dump_traceback_later(TIMEOUT, exit=True)
        sys.argv = [sys.argv[0], page]
        return Path(page)
    return None


if __name__ == "__main__" and (page := wait_for_page()):
    for snippet in snippets(page):
        if snippet.language == "python":
            # Blank lines before it give tracebacks the line numbers of the page.
            source = "\n" * (snippet.line - 1) + snippet.text + "\n"
            linecache.cache[str(page)] = (len(source), None, source.splitlines(True), str(page))
            exec(compile(source, str(page), "exec"), globals())
