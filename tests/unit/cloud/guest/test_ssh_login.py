"""A machine lets the holders of public keys log in as its image's user."""

from __future__ import annotations

import os
import pwd
import stat

import pytest

from bigmachine.cloud import GuestError, GuestSetup
from bigmachine.cloud.guest._ssh_login import allow_login
from bigmachine.system import VmOptions
from tests.support.public_keys import KEY, OTHER


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A machine's user ``ubuntu``, with this home, beside others that nobody logs in as."""
    ours = os.getuid() or 1000  # root may give files to anybody

    def user(name, uid, shell, folder=tmp_path):
        return pwd.struct_passwd((name, "x", uid, os.getgid(), "", str(folder), shell))

    users = [
        user("root", 0, "/bin/bash"),
        user("daemon", 1, "/usr/sbin/nologin"),
        user("nobody", 65534, "/usr/sbin/nologin"),
        user("later", ours + 1, "/bin/bash"),
        user("ubuntu", ours, "/bin/bash"),
        user("service", 1000, "/bin/false"),
        user("homeless", 1000, "/bin/sh", tmp_path / "nowhere"),
    ]
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    return tmp_path


def test_keys_are_added_to_those_of_the_images_user(home):
    assert allow_login([KEY]) == "ubuntu"
    file = home / ".ssh" / "authorized_keys"
    assert file.read_text() == f"{KEY}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.stat().st_uid == file.parent.stat().st_uid == (os.getuid() or 1000)
    file.write_text(OTHER)  # by cloud-init, say, for a key pair
    allow_login([KEY, OTHER])
    allow_login([KEY, OTHER])
    assert file.read_text() == f"{OTHER}\n{KEY}\n"


def test_key_is_authorized_before_the_rest_of_the_setup(home, capfd):
    options = VmOptions(ssh_key=KEY, files=(f"/proc/nowhere/x={__file__}",))
    guest = GuestSetup.from_options(options)
    with pytest.raises(GuestError, match="can't write /proc/nowhere/x"):
        guest.apply()
    assert (home / ".ssh" / "authorized_keys").read_text() == f"{KEY}\n"
    assert capfd.readouterr().err == "to log in: ssh ubuntu@ADDRESS\n"
