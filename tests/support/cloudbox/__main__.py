"""``python -m tests.support.cloudbox build`` builds the image from which hosts boot."""

import sys

from tests.support.cloudbox import build, why_not

if sys.argv[1:] != ["build"]:
    sys.exit(f"usage: python -m {__package__} build")
if reason := why_not(image=False):
    sys.exit(reason)
print(build())
