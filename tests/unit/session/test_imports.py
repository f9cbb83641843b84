"""What a session imports, and what before its system starts to come up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LATE = {"bigmachine.boot", "bigmachine.environment", "bigmachine.metrics", "httpx", "ssl", "trio"}
NEVER = {"bigmachine.environment", "bigmachine.rpc.server", "bigmachine.worker", "cryptography"}


def test_session_imports_neither_early_nor_in_vain(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.bigmachine.local]\nmaxprocs = 1\n")
    program = f"""
import sys
import bigmachine as bm
from bigmachine_local import LocalSystem
class Late(LocalSystem):
    def warm_up(self):
        print(*{LATE} & set(sys.modules), self.options.maxprocs)
        import bigmachine.session._async
        print(*{NEVER} & set(sys.modules))
        sys.exit()
bm.Session(Late).start(1)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n\n", "")
