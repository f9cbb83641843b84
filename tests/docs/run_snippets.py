"""Run the Python snippets of a Markdown file, one after the other, as one ``__main__``."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.docs.markdown import snippets

if __name__ == "__main__":
    page = Path(sys.argv[1])
    for snippet in snippets(page):
        if snippet.language == "python":
            # Blank lines before it give tracebacks the line numbers of the page.
            source = "\n" * (snippet.line - 1) + snippet.text + "\n"
            linecache.cache[str(page)] = (len(source), None, source.splitlines(True), str(page))
            exec(compile(source, str(page), "exec"), globals())
