"""What looks like a secret, by its name and by its content, and what only resembles one."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bigmachine._identity import Authority
from bigmachine.environment import Environment, Reason, capture
from bigmachine.environment._left_out import log_secrets
from bigmachine.environment._secrets import HEAD_BYTES, secret_by_content, secret_by_name
from tests.unit.environment.kit import write_files

SECRET_FOLDERS = """
    .ssh .aws .azure .gnupg .kube .docker .config/gcloud .gcloud .password-store .mozilla
    sub/.aws .codex home/.config/google-chrome .ipython .env .terraform.d .local/share/keyrings
"""
SECRET_FILES = """
    .netrc _netrc .env .env.local .env.production .envrc prod.env .env~ .env.bak .env.swp .ENV
    .git-credentials .pypirc .npmrc .pgpass .my.cnf .dockercfg .s3cfg kaggle.json .htpasswd
    terraform.tfstate terraform.tfstate.backup terraform.tfstate.1700000000.backup prod.tfvars
    prod.auto.tfvars.json gcp-credentials.json my_service_account.json app.secrets.yml
    client_secret_1234.apps.googleusercontent.com.json
    application_default_credentials.json credentials.json credentials secrets.yaml secrets.toml
    .streamlit/secrets.toml .secrets.toml accessKeys.csv openai_api_key.txt .api_key auth_token
    id_rsa id_ed25519 ID_RSA id_rsa.bak .id_rsa.swp #id_rsa# id_ecdsa_sk server.pfx server.p12
    key.ppk keystore.jks passwords.kdbx login.keychain-db office.ovpn kubeconfig dev.kubeconfig
    .bash_history .zsh_history .python_history .psql_history .sqlite_history .Rhistory
    .python_history-1234.tmp .viminfo .lesshst fish_history cookies.sqlite .m2/settings.xml
    .config/git/credentials .cargo/credentials.toml .vscode/sftp.json .bashrc .Renviron wallet.dat
"""
OTHER_FILES = """
    secrets.py credentials.py env.py .env.py .env.example .env.sample .env.template .env.dist
    .env.defaults example.env .flaskenv terraform.tfvars.example id_rsa.pub .secrets.baseline
    secrets.json.gpg .env.vault tokenizer.json special_tokens_map.json tokens.json history.csv
    training_history.json training_history.bak data.1 environment.yml .envoy.yaml pip.conf
    docker/config.yaml config.json settings.toml public_key.pem README.md keys.parquet model-2.bin
    secret.txt package.json pyproject.toml .gitignore .python-version monkey.json keyboard.txt
"""


CERTIFICATE = Authority("a.bigmachine").issue("m").certificate


def not_secret(paths: str, *, is_folder: bool = False) -> list[str]:
    return [path for path in paths.split() if not secret_by_name(path, is_folder=is_folder)]


def test_folders_and_files_with_secrets_are_known_by_their_names():
    assert not_secret(SECRET_FOLDERS, is_folder=True) == []
    assert not_secret(SECRET_FILES) == []


def test_similar_names_are_no_secrets():
    assert not_secret(OTHER_FILES) == OTHER_FILES.split()
    folders = "keyrings docker environment secrets envs .github config/gcloud .envoy"
    assert not_secret(folders, is_folder=True) == folders.split()


def private_keys() -> dict[str, bytes]:
    curve, edwards = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    # The smallest that is accepted: generating a larger one takes long.
    large = rsa.generate_private_key(65537, 1024)
    password = BestAvailableEncryption(b"x")
    keys = {}
    for name, key in {"ec": curve, "rsa": large}.items():
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            for encoding in (Encoding.PEM, Encoding.DER):
                content = key.private_bytes(encoding, form, NoEncryption())
                keys[f"{name} {form} {encoding}"] = content
    keys["encrypted"] = curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, password)
    keys["openssh"] = edwards.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    keys["windows"] = b"\xff\xfe" + keys["encrypted"].decode().encode("utf-16-le")
    keys["after certificate"] = CERTIFICATE + keys["openssh"]
    keys["putty"] = b"PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\n"
    keys["pgp"] = b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBF\n"
    keys["wireguard"] = b"[Interface]\nPrivateKey = " + b"A" * 43 + b"=\n"
    keys["age"] = b"# created: 2025\nAGE-SECRET-KEY-1QQQ\n"
    keys["jwk"] = b'{"kty": "EC", "crv": "P-256", "x": "a", "y": "b", "d": "c"}'
    return keys


KEYS = private_keys()
CREDENTIALS = {
    "service account": b'{"type": "service_account", "private_key": "-----BEGIN"}',
    "gcloud user": b'{"type": "authorized_user", "refresh_token": "1//x"}',
    "oauth client": b'{"installed": {"client_id": "x", "client_secret": "y"}}',
    "aws": b"[default]\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
    "aws csv": b"Access key ID,Secret access key\nAKIA,x\n",
    "kubeconfig": b"apiVersion: v1\nclusters: []\nkind: Config\nusers:\n- name: me\n",
    "kubernetes": b"kind: Secret\nmetadata:\n  name: x\ndata:\n  password: eA==\n",
    "docker": b'{"auths": {"https://registry.example": {"auth": "x"}}}',
    "netrc": b"machine a.example\n  login me\nmachine b.example login me password x\n",
}


def test_private_keys_and_credentials_are_known_by_their_content():
    assert {
        name for name, key in KEYS.items() if secret_by_content("a", key) != "a private key"
    } == set()
    others = {n for n, text in CREDENTIALS.items() if secret_by_content("a", text) != "credentials"}
    assert others == set()


def test_public_parts_and_data_are_no_secrets():
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    public = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for content in (CERTIFICATE, public, b""):
        assert secret_by_content("public.pem", content) is None
        assert secret_by_content("public.key", content) is None
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for content in (der, b"0\x82ab0\x82", b"no PRIVATE KEY here", b'{"kty": "EC", "x": "a"}'):
        assert secret_by_content("data.bin", content) is None
    assert (
        secret_by_content("text.json", b'{"kind": "Config", "secret": "", "password": 1}') is None
    )


def test_settings_of_installer_are_secret_only_with_password():
    url = b"[global]\nextra-index-url = https://%s@pkgs.example/simple\n"
    assert secret_by_content("pip.conf", url % b"me:token") == "credentials"
    for text in (
        url % b"me",
        url % b"me:$TOKEN",
        b"[global]\nindex-url = https://a.example:80/@\n",
    ):
        assert secret_by_content("pip.conf", text) is None
    # Such a URL is often an example, and the program needs the file.
    assert secret_by_content("alembic.ini", url % b"user:pass") is None


def test_large_text_is_judged_in_linear_time():
    # In quadratic time, each would take minutes.
    for line in (
        b"data: 1\n",
        b'"d": 1, ',
        b"kind: Config\n",
        b"\n",
        b" ",
        b"users:\n",
        b"machine ",
    ):
        text = b'no secret users PrivateKey "kty"\n' + line * (HEAD_BYTES // len(line))
        assert secret_by_content("a.txt", text) is None
    for name in ("." * 255, "a.1" * 85, "-secret" * 36, "#" * 255):
        assert secret_by_name(name, is_folder=False) is None


def test_pem_file_that_is_not_public_counts_as_private_key():
    assert secret_by_content("server.pem", b"secret") == "a private key"
    assert secret_by_content("master.key", b"0123456789abcdef") == "a private key"


# -- in a folder ---------------------------------------------------------------


def captured(folder: Path, **options) -> Environment:
    return capture(folder, path=[], **options)


def sent(environment: Environment) -> list[str]:
    return [file.path for folder in environment.folders for file in folder.files]


@pytest.fixture
def project(tmp_path) -> Path:
    files = {"run.py": "", "secrets.py": "", ".env": "A=1", ".env.example": "A=", "id_rsa.pub": ""}
    files |= {".aws/credentials": "x", ".aws/config": "x", "certs/own.txt": KEYS["openssh"]}
    files["certs/public.pem"] = CERTIFICATE
    return write_files(tmp_path / "project", files)


PUBLIC = [".env.example", "certs/public.pem", "id_rsa.pub", "run.py", "secrets.py"]


def test_secrets_are_left_out_and_listed_with_reason(project):
    environment = captured(project)
    assert sent(environment) == PUBLIC
    assert [(each.path, each.reason, each.why) for each in environment.left_out] == [
        (".aws/", Reason.SECRET, "credentials"),
        (".env", Reason.SECRET, "settings that often hold secrets"),
        ("certs/own.txt", Reason.SECRET, "a private key"),
    ]


@pytest.mark.parametrize(
    ("include", "added"),
    [
        (["/.env"], [".env"]),
        ([".env", "own.txt"], [".env", "certs/own.txt"]),
        ([".aws/"], [".aws/config", ".aws/credentials"]),
        (["/.aws/config"], [".aws/config"]),
        (["certs/own.*"], ["certs/own.txt"]),
        # These say nothing of secrets.
        (["*"], []),
        (["/certs/"], []),
        (["/*", "**/*"], []),
        (["config"], []),
    ],
)
def test_secret_is_sent_only_if_include_names_it(project, include, added):
    assert sent(captured(project, include=include)) == sorted([*PUBLIC, *added])


def test_link_to_secret_is_left_out(project):
    for name, target in {
        "a.txt": ".env",
        "b": ".aws",
        "c.txt": ".aws/config",
        "d.py": "certs/own.txt",
    }.items():
        (project / name).symlink_to(target)
    environment = captured(project)
    assert sent(environment) == PUBLIC
    links = {each.path: each.why for each in environment.left_out if len(each.path) < 6}
    assert links["a.txt"] == "a link to settings that often hold secrets"
    assert links["b"] == links["c.txt"] == "a link to credentials"
    assert links["d.py"] == "a private key"
    assert "c.txt" in sent(captured(project, include=["/c.txt"]))


def test_secret_that_gitignore_excludes_is_listed_as_secret(project):
    (project / ".gitignore").write_text(".env\ndata/\n")
    write_files(project, {"data/x": ""})
    reasons = {each.path: each.reason for each in captured(project).left_out}
    assert (reasons[".env"], reasons["data/"]) == (Reason.SECRET, Reason.IGNORED)


def test_virtual_environment_called_env_is_no_secret(tmp_path):
    write_files(tmp_path / "p", {".env/pyvenv.cfg": "", ".env/lib/x.py": "", "run.py": ""})
    [left] = captured(tmp_path / "p").left_out
    assert (left.path, left.reason) == (".env/", Reason.GENERATED)


def test_folder_called_secrets_is_left_out_unless_it_is_a_package(tmp_path):
    files = {"run.py": "", "secrets/db_password": "x", "app/credentials/__init__.py": ""}
    folder = write_files(tmp_path / "p", {**files, "app/credentials/data.txt": ""})
    environment = captured(folder)
    assert sent(environment) == [
        "app/credentials/__init__.py",
        "app/credentials/data.txt",
        "run.py",
    ]
    assert [each.path for each in environment.left_out] == ["secrets/"]
    assert "secrets/db_password" in sent(captured(folder, include=["/secrets/db_*"]))


def test_named_folder_that_tools_generate_is_sent(tmp_path):
    write_files(tmp_path / "p", {".git/HEAD": "", "v/pyvenv.cfg": "", "run.py": ""})
    assert sent(captured(tmp_path / "p", include=[".git/", "/v"])) == [
        ".git/HEAD",
        "run.py",
        "v/pyvenv.cfg",
    ]


# -- in the wheels of local packages -------------------------------------------


def wheel_names(environment: Environment) -> set[str]:
    [entry] = environment.manifest()["distributions"]
    with zipfile.ZipFile(environment.blob(entry["wheel"]["sha256"]).path) as wheel:
        record = wheel.read(next(n for n in wheel.namelist() if n.endswith("/RECORD"))).decode()
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    # pip installs only what is listed in a RECORD.
    assert {line.split(",")[0] for line in record.splitlines()} >= names or not record
    assert "key.txt" not in record or "app/key.txt" in names
    return names


@pytest.mark.parametrize("editable", [True, False])
def test_wheel_of_local_package_has_no_secrets(venv, make_project, project, editable):
    app = make_project("app", files={"src/app/__init__.py": "", "src/app/key.txt": KEYS["openssh"]})
    text = (app / "backend.py").read_text().replace('"*.py"', '"*.*"')
    (app / "backend.py").write_text(text)
    write_files(app, {"src/app/data.txt": "1"})
    venv.install("--editable", app) if editable else venv.install(app)
    environment = capture(project, path=[str(venv.site)], exclude=["*"])
    assert wheel_names(environment) == {"app/__init__.py", "app/data.txt"}
    [left] = environment.left_out
    assert (left.place, left.path, left.why) == ("the wheel of app", "app/key.txt", "a private key")
    named = capture(project, path=[str(venv.site)], exclude=["*"], include=["app/key.txt"])
    assert wheel_names(named) == {"app/__init__.py", "app/data.txt", "app/key.txt"}
    assert named.left_out == ()


# -- in the log ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "level"),
    [("", "INFO"), ("open('.env')", "WARNING"), ("from dotenv import load_dotenv", "WARNING")],
)
def test_log_names_secrets_and_warns_if_program_uses_one(project, caplog, source, level):
    (project / "run.py").write_text(source)
    caplog.set_level(logging.INFO)
    environment = captured(project)
    log_secrets(environment.left_out, sent=[project / path for path in sent(environment)])
    [record] = caplog.records
    assert record.levelname == level
    first = ".aws/ (credentials)" if level == "INFO" else ".env (settings that often hold secrets)"
    assert record.getMessage().startswith(f"secrets are not sent to the machines: {first}, ")
    assert "certs/own.txt (a private key); `bigmachine env` says how" in record.getMessage()


def test_log_is_silent_without_secrets(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    environment = captured(write_files(tmp_path / "p", {"run.py": "", "__pycache__/a.pyc": ""}))
    log_secrets(environment.left_out, sent=[])
    assert caplog.records == []
