"""Public keys are read from texts, files and patterns, and checked."""

from __future__ import annotations

import pytest

from bigmachine.cloud.guest._public_keys import read_public_keys
from bigmachine.errors import UsageError
from tests.support.public_keys import CURVE, KEY, OTHER


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
