"""``python -m tests.cloudbox build``: make the image that hosts boot from, if there is none."""

import sys

from tests.cloudbox import build, why_not

if sys.argv[1:] != ["build"]:
    sys.exit(f"usage: python -m {__package__} build")
if reason := why_not(image=False):
    sys.exit(reason)
print(build())
