"""Users log in to machines by ssh, with keys of this computer or of EC2."""

from __future__ import annotations

import os
import pickle
import pwd
import stat

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bigmachine.errors import UsageError
from bigmachine_ec2 import Ec2Options
from bigmachine_ec2._commands import GuestError
from bigmachine_ec2._guest_setup import GuestSetup
from bigmachine_ec2._public_keys import read_public_keys
from bigmachine_ec2._ssh_login import allow_login
from tests.integration.ec2.test_access import ALLOWED, open_to, user_data
from tests.support.aws.imds import Imds


def public_key(private, comment: str) -> str:
    key = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return f"{key.decode()} {comment}"


KEY = public_key(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)), "me@laptop")
OTHER = public_key(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))), "me@home")
CURVE = public_key(ec.derive_private_key(7, ec.SECP256R1()), "me")

# -- on the driver --------------------------------------------------------------------


def test_keys_are_texts_files_and_patterns(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "id_ed25519.pub").write_text(f"# mine\r\n{KEY}\r\n")
    (folder / "id_ecdsa.pub").write_text(CURVE)
    (folder / "id_ed25519-cert.pub").write_text(f"ssh-ed25519-cert-v01@openssh.com {'A' * 40} x")
    (folder / "old.pub").write_text(f"ssh-dss {'A' * 40} x")
    assert read_public_keys([OTHER]) == (OTHER,)
    assert read_public_keys(["~/.ssh/id_ed25519.pub", KEY]) == (KEY,)
    assert read_public_keys(["~/.ssh/*.pub"]) == (CURVE, KEY)
    assert read_public_keys([f"{KEY}\n{OTHER}\n"]) == (KEY, OTHER)
    assert read_public_keys([]) == read_public_keys([""]) == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("~/.ssh/nowhere.pub", "nowhere.pub: No such file or directory; it must be a public key"),
        ("{tmp}/secret", "secret is a private key, which must never leave this computer: name the"),
        ("{tmp}/empty", "there is no public key in {tmp}/empty"),
        ("{tmp}/*.nothing", "there is no public key in {tmp}/*.nothing"),
        ("{tmp}/binary", "is no public key; it must be one, like 'ssh-ed25519 AAAA"),
        ("{tmp}", "Is a directory"),
        (KEY.replace("AAAA", "AABA"), "is damaged: copy it again, as one line"),
        (KEY[:30], "is damaged"),
        ("ssh-dss AAAAB3NzaC1kc3M= x", "keys of type ssh-dss can't be used"),
        ("-----BEGIN RSA PRIVATE KEY-----\nxyzzy", "it is the text of a private key: give the"),
        ("a\0b", "embedded null byte; it must be a public key"),
        ("~nobody-here/key.pub", "~nobody-here/key.pub: No such file"),
        ("ssh-ed25519", "ssh-ed25519: No such file or directory"),
    ],
)
def test_invalid_key_is_refused(tmp_path, given, message):
    begin = "-----BEGIN OPENSSH PRIVATE KEY-----"
    (tmp_path / "secret").write_text(f"{begin}\nxyzzy\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "binary").write_bytes(KEY.encode("utf-16"))
    with pytest.raises(UsageError) as caught:
        read_public_keys([given.format(tmp=tmp_path)])
    assert str(caught.value).startswith("invalid option ssh_key: ")
    assert message.format(tmp=tmp_path) in str(caught.value)
    assert "xyzzy" not in str(caught.value)


def test_invalid_key_is_refused_without_a_request_to_aws(run, aws):
    async def test(kit):
        with pytest.raises(UsageError, match="invalid option ssh_key: /nowhere/key: No such file"):
            await kit.setup()
        assert not aws.asked

    run(test, ssh_key="/nowhere/key")


def test_ssh_port_is_open_to_the_driver_alone(run, aws):
    async def test(kit):
        await kit.start()
        assert open_to(aws) == {7443: {ALLOWED, "itself"}, 22: {ALLOWED}}
        assert KEY.encode() not in user_data(aws)  # which has no room for more
        there = pickle.loads(pickle.dumps(kit.system))
        assert there._guest_setup.ssh_keys == (KEY,)

    run(test, ssh_key=KEY)


# -- on the machine -------------------------------------------------------------------


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


def allow(*keys: str, url: str = "http://127.0.0.1:1") -> None:
    allow_login(keys, metadata_url=url)


def test_keys_are_added_to_those_of_the_images_user(home):
    allow(KEY)
    file = home / ".ssh" / "authorized_keys"
    assert file.read_text() == f"{KEY}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.stat().st_uid == file.parent.stat().st_uid == (os.getuid() or 1000)
    file.write_text(OTHER)  # by cloud-init, say, for a key pair
    allow(KEY, OTHER)
    allow(KEY, OTHER)
    assert file.read_text() == f"{OTHER}\n{KEY}\n"


@pytest.mark.parametrize(
    ("data", "address"),
    [
        ({"public-ipv4": "198.51.100.9", "local-ipv4": "10.0.0.7"}, "198.51.100.9"),
        ({"local-ipv4": "10.0.0.7"}, "10.0.0.7"),
        (None, "ADDRESS"),
    ],
)
def test_machine_prints_the_command_that_logs_in(home, data, address, capfd):
    async def main():
        async with Imds(**data or {}).serving() as imds:
            url = imds.url if data else "http://127.0.0.1:1"
            await trio.to_thread.run_sync(lambda: allow(url=url))

    trio.run(main)
    assert capfd.readouterr().err == f"to log in: ssh ubuntu@{address}\n"
    assert not (home / ".ssh").exists()  # a key pair's key is not ours to write


def test_key_is_authorized_before_the_rest_of_the_setup(home, capfd):
    options = Ec2Options(ssh_key=KEY, files=(f"/proc/nowhere/x={__file__}",))
    guest = GuestSetup.from_options(options)
    with pytest.raises(GuestError, match="can't write /proc/nowhere/x"):
        guest.apply(metadata_url="http://127.0.0.1:1")
    assert (home / ".ssh" / "authorized_keys").read_text() == f"{KEY}\n"
    assert "to log in: ssh ubuntu@" in capfd.readouterr().err
