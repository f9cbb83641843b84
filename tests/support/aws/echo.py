"""A service for machines that have nothing but bigmachine."""

from __future__ import annotations

import time


class Echo:
    def echo(self, value):
        return value

    def sleep(self, seconds):
        time.sleep(seconds)
