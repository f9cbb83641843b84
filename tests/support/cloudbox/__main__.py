"""``python -m tests.support.cloudbox build``: make the image that hosts boot from, once."""

import sys

from tests.support.cloudbox import build, why_not

if sys.argv[1:] != ["build"]:
    sys.exit(f"usage: python -m {__package__} build")
if reason := why_not(image=False):
    sys.exit(reason)
print(build())
