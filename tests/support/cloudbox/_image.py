"""The image that hosts boot from: made once, kept in the user's cache."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

RECIPE = Path(__file__).with_name("image.sh")

# What is run here, and the Debian package that has it.
TOOLS = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "systemd-nspawn": "systemd-container",
    "tc": "iproute2",
    "unshare": "util-linux",
}

# In namespaces of its own, so that what it mounts and starts ends with it.
ALONE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def why_not(*, image: bool = True) -> str | None:
    """Say what is missing here for a box, and how to get it; None if nothing is.

    With ``image=False``, say what is missing to build the image.
    """
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        return f"needs {', '.join(missing)}: apt-get install {packages}"
    # A container may have root, and yet none of these.
    probe = ["unshare", "--net", "--mount", "--pid", "--fork", "ip", "link", "add", "type", "veth"]
    refused = subprocess.run(probe, capture_output=True, text=True).stderr.strip()
    if refused:
        return f"needs namespaces and network cards of its own: {refused}"
    if image and not root().exists():
        return "needs its image: python -m tests.support.cloudbox build"
    return None


def build() -> Path:
    """Return the image's root, after it was built if it wasn't there; raise if it can't be.

    It takes a minute and 300 MB. Whoever comes meanwhile waits for the first.
    """
    there = root()
    there.parent.mkdir(parents=True, exist_ok=True)
    with open(there.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not there.exists():
            half = there.with_name("half")
            shutil.rmtree(half, ignore_errors=True)  # of a builder that was killed
            subprocess.run([*ALONE, "sh", str(RECIPE), str(half)], check=True)
            half.rename(there)
    return there


def root() -> Path:
    """Return where the image's root is, once it is built: each recipe has its own."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "bigmachine", "cloudbox", recipe_hash(RECIPE.read_bytes()), "root")


def recipe_hash(recipe: bytes) -> str:
    """Name a recipe, so that an image of another is never taken for one of it."""
    return hashlib.sha256(recipe).hexdigest()[:16]
