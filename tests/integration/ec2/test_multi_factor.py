"""Credentials that need a multi-factor code are refused before boto3 would ask for one."""

from __future__ import annotations

import pytest

from bigmachine.errors import StartError
from bigmachine_ec2.api._configuration import open_session

CONFIG = """
[profile base]
aws_access_key_id = made-up
aws_secret_access_key = made-up
[profile plain]
role_arn = arn:aws:iam::123456789012:role/plain
source_profile = base
[profile code]
role_arn = arn:aws:iam::123456789012:role/code
source_profile = base
mfa_serial = arn:aws:iam::123456789012:mfa/me
[profile chained]
role_arn = arn:aws:iam::123456789012:role/chained
source_profile = code
[profile itself]
aws_access_key_id = made-up
aws_secret_access_key = made-up
role_arn = arn:aws:iam::123456789012:role/itself
source_profile = itself
mfa_serial = arn:aws:iam::123456789012:mfa/me
[profile from-itself]
role_arn = arn:aws:iam::123456789012:role/other
source_profile = itself
"""


@pytest.fixture(autouse=True)
def profiles(aws, tmp_path, monkeypatch):
    path = tmp_path / "config"
    path.write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("profile", "named"), [("code", "code"), ("chained", "code"), ("itself", "itself")]
)
def test_profile_that_needs_a_multi_factor_code_is_refused(monkeypatch, profile, named):
    monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(StartError) as caught:
        open_session("us-east-1")
    text = str(caught.value)
    assert text.startswith(f"the AWS profile {named!r} needs a multi-factor code (mfa_serial)")
    assert f'`eval "$(aws configure export-credentials --profile {profile} --format env)"`' in text
    assert "the reaper, a process of its own" in text


@pytest.mark.parametrize("profile", ["base", "plain", "from-itself"])
def test_profile_that_needs_no_code_is_accepted(monkeypatch, profile):
    monkeypatch.setenv("AWS_PROFILE", profile)
    assert open_session("us-east-1").profile_name == profile


def test_credentials_in_the_environment_need_no_code_of_the_profile(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "code")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    assert open_session("us-east-1").get_credentials().method == "env"
