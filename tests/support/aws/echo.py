"""A service for machines that have nothing but bigmachine."""

from __future__ import annotations

import time


class Echo:
    def echo(self, value):
        return value

    def sleep(self, seconds):
        time.sleep(seconds)

    def host(self):
        """Return limits of open files, OOM scores of worker and parent, and an updater's state."""
        import os
        import resource
        import subprocess
        from pathlib import Path

        scores = [
            Path(f"/proc/{id}/oom_score_adj").read_text() for id in (os.getpid(), os.getppid())
        ]
        asked = ["systemctl", "is-enabled", "zincati.service"]
        state = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=False).stdout
        return resource.getrlimit(resource.RLIMIT_NOFILE), [*map(int, scores)], state.strip()
