"""What a session imports before its system starts to come up, which it could do meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LATE = {"bigmachine.boot", "bigmachine.environment", "bigmachine.metrics", "httpx", "ssl", "trio"}


def test_system_starts_before_session_imports_what_it_needs_later(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.bigmachine.local]\nmaxprocs = 1\n")
    program = f"""
import sys
import bigmachine as bm
from bigmachine_local import LocalSystem
class Late(LocalSystem):
    def warm_up(self):
        print(*{LATE} & set(sys.modules), self.options.maxprocs)
        sys.exit()
bm.Session(Late).start(1)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")
