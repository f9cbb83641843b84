"""Credentials and project are found where Google's tools look, or the error says what to do."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import types

import pytest
import trio
from google.auth.compute_engine import _metadata
from google.auth.exceptions import RefreshError
from google.oauth2 import credentials

from bigmachine.errors import StartError, UsageError
from bigmachine_gcp import GcpOptions
from bigmachine_gcp.api._advice import explain
from bigmachine_gcp.api._api import Api
from bigmachine_gcp.api._credentials import find_credentials
from bigmachine_gcp.api._errors import GcpError
from bigmachine_gcp.api._transport import errors_of
from tests.support.gcp.gce import PROJECT
from tests.support.gcp.oauth import ACCOUNT

LOGIN = "`gcloud auth application-default login`"


@pytest.fixture
def gcloud(tmp_path):
    """The folder of gcloud's files, which is empty."""
    folder = tmp_path / "gcloud"
    (folder / "configurations").mkdir(parents=True)
    return folder


@pytest.fixture
def as_user(gce, gcloud, monkeypatch):
    """A user who has signed in, and no service account."""
    gce.oauth.write_user(gcloud / "application_default_credentials.json", gce.url)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", PROJECT)
    # google-auth ignores what the file says of it.
    monkeypatch.setattr(credentials, "_GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{gce.url}/token")
    return gcloud / "application_default_credentials.json"


@pytest.fixture
def nobody(gce, monkeypatch):
    """No credentials at all."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")


def opened(gce, **options):
    """Return project and account of an API that a request has used."""

    async def main():
        api = Api(GcpOptions(**{"endpoint_url": gce.url, **options}))
        try:
            await api.read("projects.get", attempts=1)
            return api.project, api.account
        finally:
            await api.close()

    return trio.run(main)


def refused(gce, **options):
    """Return what a user is told whose first request fails."""
    with pytest.raises(GcpError) as caught:
        opened(gce, **options)
    assert gce.asked == []
    return str(explain(caught.value))


def test_service_account_and_its_project_are_used(gce):
    assert opened(gce) == (PROJECT, ACCOUNT)
    [call] = gce.asked
    assert call.user == ACCOUNT


def test_project_comes_from_option_then_variable_then_credentials(gce, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "of-the-variable")
    with pytest.raises(GcpError, match="projects/of-the-variable"):
        opened(gce)
    assert opened(gce, project=PROJECT)[0] == PROJECT


def test_user_and_the_project_of_gcloud_are_used(gce, gcloud, as_user, monkeypatch, recwarn):
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    monkeypatch.setattr("subprocess.Popen", None)  # gcloud itself is not run: it takes a second
    (gcloud / "active_config").write_text("work\n")
    (gcloud / "configurations/config_work").write_text(f"[core]\nproject = {PROJECT}\n")
    assert opened(gce) == (PROJECT, "")
    assert gce.asked[0].user == "somebody@example.com"
    assert recwarn.list == []  # google-auth's, of a quota project


@pytest.fixture
def sent():
    """A server that takes requests and answers none: its URL, and what it was sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        requests = []

        def serve():
            with contextlib.suppress(OSError):  # until it is closed
                while True:
                    peer, _ = server.accept()
                    with peer:
                        requests.append(peer.recv(65536).lower())

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", requests
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("is_wanted", [False, True])
def test_quota_project_of_the_last_login_is_not_sent(gce, as_user, monkeypatch, sent, is_wanted):
    gce.oauth.write_user(as_user, gce.url, quota_project_id="of-the-last-login")
    if is_wanted:
        monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "mine")
    url, requests = sent
    with pytest.raises(GcpError):
        opened(gce, endpoint_url=url)
    assert (b"x-goog-user-project: mine" in requests[0]) is is_wanted
    assert b"of-the-last-login" not in requests[0]


def test_other_services_get_the_quota_project_that_users_need(gce, as_user, sent, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    url, requests = sent

    async def main():
        api = Api(GcpOptions(endpoint_url=url))
        with pytest.raises(GcpError):
            await api.read_json("cloudbilling", "v1/services")
        await api.close()

    trio.run(main)
    assert f"x-goog-user-project: {PROJECT}".encode() in requests[0]


def test_project_that_nothing_names_is_an_error(gce, as_user, monkeypatch):
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    with pytest.raises(UsageError, match=r"project: set neither .*`gcloud config set project PR"):
        opened(gce)


def test_nothing_is_logged_of_a_key_without_project(gce, tmp_path, monkeypatch, caplog):
    key = gce.oauth.write_key(tmp_path / "no-project.json", gce.url, project_id=None)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    assert opened(gce, project=PROJECT) == (PROJECT, ACCOUNT)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


def test_missing_credentials_are_an_error_except_for_an_emulator(nobody, monkeypatch):
    with pytest.raises(StartError, match="there are no Google Cloud credentials: run `gcloud au"):
        find_credentials()
    assert find_credentials(is_emulator=True).account == ""


def test_slow_metadata_server_is_asked_once(nobody, monkeypatch):
    monkeypatch.delenv("NO_GCE_CHECK")
    monkeypatch.setattr("bigmachine_gcp.api._credentials._METADATA_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(StartError, match="there are no Google Cloud credentials"):
            find_credentials()
        server.accept()[0].close()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.fixture
def metadata_server(gce, nobody, monkeypatch):
    """A metadata server as that of an instance; its answers by path."""
    answers = {"/": "", "/computeMetadata/v1/project/project-id": PROJECT}
    account = "/computeMetadata/v1/instance/service-accounts/default/"
    token = {"access_token": gce.oauth.issue(), "expires_in": 3599, "token_type": "Bearer"}
    answers[account] = json.dumps({"email": ACCOUNT, "scopes": [], "aliases": ["default"]})
    answers[account + "token"] = json.dumps(token)
    answers["/computeMetadata/v1/universe/universe-domain"] = "googleapis.com"
    with serving(answers) as address:
        for name in ("GCE_METADATA_IP", "GCE_METADATA_HOST"):
            monkeypatch.setenv(name, address)
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", address)  # read at the first import
        monkeypatch.setattr(_metadata, "_NO_GCE_CHECK", False)
        monkeypatch.delenv("NO_GCE_CHECK")
        yield answers


@contextlib.contextmanager
def serving(answers):
    """Serve texts by their paths, with the header of Google's metadata server."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            text = answers.get(self.path.partition("?")[0])
            self.send_response(404 if text is None else 200)
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Type", "application/json" if "{" in (text or "") else "text")
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *_):
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("is_named", [False, True])
def test_instance_uses_its_service_account(gce, metadata_server, monkeypatch, is_named):
    if not is_named:
        monkeypatch.delenv("GCE_METADATA_HOST")
    project, account = opened(gce)
    assert (project, account) == (PROJECT, ACCOUNT)


def test_instance_without_service_account_is_an_error(gce, metadata_server):
    for path in [path for path in metadata_server if "service-accounts" in path]:
        del metadata_server[path]
    assert "this instance has no service account, so that it has no credentials" in refused(gce)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "GOOGLE_APPLICATION_CREDENTIALS names '{file}', which is not a file: correct it"),
        ("{", "the credentials in '{file}', which GOOGLE_APPLICATION_CREDENTIALS names, can't be"),
        ('{"type": "service_account"}', "get the file again, or unset the variable"),
        ('{"type": "nothing"}', "google-auth says: "),
        ("[]", "google-auth says: "),
    ],
    ids=["no file", "no JSON", "half a key", "unknown type", "no object"],
)
def test_unusable_file_of_credentials_is_named(gce, tmp_path, monkeypatch, text, says):
    file = tmp_path / "key.json"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(StartError) as caught:
        opened(gce)
    assert says.format(file=file) in str(caught.value)


def test_federation_that_cannot_be_asked_for_its_project_is_no_broken_file(
    gce, tmp_path, monkeypatch
):
    token = tmp_path / "token"
    token.write_text("made-up")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        content = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"http://127.0.0.1:{unused.getsockname()[1]}/token",
            "credential_source": {"file": str(token)},
        }
        file = tmp_path / "federation.json"
        file.write_text(json.dumps(content))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        with pytest.raises(StartError, match="Google can't be reached: check the internet"):
            opened(gce)


def test_unusable_credentials_of_a_user_are_named(gce, as_user):
    as_user.write_text('{"type": "authorized_user"}')
    with pytest.raises(StartError) as caught:
        opened(gce)
    assert f"{str(as_user)!r} can't be used: get new ones with {LOGIN}" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "description", "says"),
    [
        ("invalid_grant", "Token has been expired or revoked.", f"or were revoked: run {LOGIN}"),
        ("invalid_grant", "Bad Request", f"have expired or were revoked: run {LOGIN}"),
        (
            "invalid_grant",
            "reauth related error (invalid_rapt)",
            "requires you to sign in to Googl",
        ),
        ("access_denied", "Account restricted", "a policy of your organization denies access"),
        ("invalid_client", "The OAuth client was not found.", "can't be renewed: correct what it"),
    ],
)
def test_expired_credentials_say_how_to_renew_them(gce, as_user, error, description, says):
    gce.oauth.denied = {"error": error, "error_description": description}
    text = refused(gce)
    assert says in text
    assert "its library says " in text


def test_deleted_key_of_a_service_account_is_told(gce):
    gce.oauth.is_key_deleted = True
    with pytest.raises(GcpError) as caught:
        opened(gce)
    text = str(explain(caught.value))
    assert f"Google rejects the key of {ACCOUNT}: it may be deleted or disabled" in text
    assert caught.value.is_forbidden


@pytest.mark.parametrize(("ahead", "says"), [(7200, "120 minutes ahead"), (-900, "15 minutes beh")])
def test_wrong_clock_is_told(gce, monkeypatch, ahead, says):
    gce.oauth.is_key_deleted = True  # to Google, its tokens are as invalid
    clock = types.SimpleNamespace(time=lambda: time.time() + ahead)
    monkeypatch.setattr("bigmachine.cloud.errors._clock_skew.time", clock)
    with pytest.raises(GcpError) as caught:
        opened(gce)
    text = str(explain(caught.value))
    assert f"this computer's clock is {says}" in text
    assert "set it right" in text


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            RefreshError("Unable to acquire impersonated credentials", '{"error": {"code": 403}}'),
            "roles/iam.serviceAccountTokenCreator",
        ),
        (
            RefreshError(
                "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in "
                "a reasonable timeframe. Check your iat and exp values in the JWT claim."
            ),
            "this computer's clock is wrong, and Google rejects its tokens: set it right",
        ),
        (RefreshError("invalid_grant: Invalid JWT Signature."), "the service account's key does n"),
        (RefreshError("Unable to retrieve Identity Pool subject token"), "can't be renewed: corr"),
        (RefreshError("Reauthentication is needed."), "requires you to sign in to Google again"),
    ],
)
def test_failure_of_google_auth_says_what_to_do(error, says):
    with pytest.raises(GcpError) as caught, errors_of("compute.zones.get"):
        raise error
    assert says in str(explain(caught.value))
    assert (caught.value.is_temporary, caught.value.is_outcome_unknown) == (False, False)


def test_token_service_that_is_busy_is_asked_again_later():
    with pytest.raises(GcpError) as caught, errors_of("compute.zones.get"):
        raise RefreshError("internal_failure", retryable=True)
    assert (caught.value.is_temporary, caught.value.is_outcome_unknown) == (True, False)
