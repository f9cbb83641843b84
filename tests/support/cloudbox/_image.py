"""The image from which hosts boot. It is built once and kept in the user's cache folder."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

RECIPE = Path(__file__).with_name("image.sh")

# Required commands, and their Debian packages.
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

# A command with its own namespaces: its mounts and processes end with it.
IN_NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def why_not(*, image: bool = True) -> str | None:
    """Return what a box needs and this computer lacks, and how to get it; None if nothing.

    With ``image=False``, return what is needed to build the image.
    """
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        return f"needs {', '.join(missing)}: apt-get install {packages}"
    # In a container, root may lack these rights.
    probe = ["unshare", "--net", "--mount", "--pid", "--fork", "ip", "link", "add", "type", "veth"]
    refused = subprocess.run(probe, capture_output=True, text=True).stderr.strip()
    if refused:
        return f"needs namespaces and network cards of its own: {refused}"
    if image and not root().exists():
        return "needs its image: python -m tests.support.cloudbox build"
    return None


def build() -> Path:
    """Build the image if it does not exist; return its root folder; raise if the build fails.

    The build takes a minute and 300 MB. Concurrent calls wait for the first one.
    """
    image = root()
    image.parent.mkdir(parents=True, exist_ok=True)
    with open(image.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            half = image.with_name("half")
            shutil.rmtree(half, ignore_errors=True)  # left by a build that was killed
            subprocess.run([*IN_NAMESPACES, "sh", str(RECIPE), str(half)], check=True)
            half.rename(image)
    return image


def root() -> Path:
    """Return the root folder of the image, built or not. Each recipe has its own."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "bigmachine", "cloudbox", recipe_hash(RECIPE.read_bytes()), "root")


def recipe_hash(recipe: bytes) -> str:
    """Return a hash that identifies a recipe, so images of other recipes are never used."""
    return hashlib.sha256(recipe).hexdigest()[:16]
