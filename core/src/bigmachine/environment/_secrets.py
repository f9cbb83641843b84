"""Which files hold secrets: credentials, private keys, histories. By default they are not sent.

A file is judged by its name and, unless it is source code, by the beginning of its content. The
names are those of the tools' own documentation, and of public lists of sensitive files (the
signatures of gitrob, the rules of gitleaks, GitHub's templates for ``.gitignore``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

HEAD_BYTES = 256 << 10
"""How much of a file `secret_by_content` needs to see; a chain of certificates is smaller."""

_KEY = "a private key"
_CREDENTIALS = "credentials"
_SETTINGS = "settings that often hold secrets"
_HISTORY = "a history of commands"
_PASSWORDS = "a store of passwords"
_PROFILE = "a profile with cookies and passwords"
_TERRAFORM = "Terraform's state or variables, which hold secrets"


def _by_name(names: Mapping[str, str]) -> dict[str, str]:
    return {name: reason for reason, line in names.items() for name in line.split()}


# All names are in lower case. A name with a slash is that of a file or folder in such a folder.
_FOLDERS = _by_name(
    {
        "the keys and hosts of ssh": ".ssh",
        "the keys of GnuPG": ".gnupg",
        _CREDENTIALS: ".aws .azure .gcloud .config/gcloud .oci .aliyun .bluemix .ibmcloud .kube "
        ".minikube .docker .chef .vault .terraform.d .pulumi .snowflake .snowsql .databricks "
        ".kaggle .huggingface .netlify .vercel .fly .wrangler .firebase .sky .runpod .jupyter "
        ".codex .gemini .continue "
        ".credentials .secrets .envs .subversion .config/gh .config/hub .config/glab-cli "
        ".config/doctl .config/hcloud .config/rclone .config/op .config/heroku .config/fly "
        ".config/linode-cli .config/containers .config/configstore .config/filezilla .filezilla",
        _PASSWORDS: ".password-store .keychain .1password .op .lastpass .local/share/keyrings "
        ".local/share/kwalletd library/keychains .config/bitwarden .config/keepassxc .pki "
        ".bitcoin .ethereum .electrum .agilekeychain",
        _PROFILE: ".mozilla .thunderbird .config/google-chrome .config/chromium "
        ".config/microsoft-edge .config/bravesoftware .config/vivaldi .config/opera .purple "
        ".irssi .weechat",
        _HISTORY: ".ipython .history",
    }
)
_FILES = _by_name(
    {
        _CREDENTIALS: ".netrc _netrc .authinfo .git-credentials .config/git/credentials .pypirc "
        ".npmrc .pgpass pgpass.conf .my.cnf .mylogin.cnf .dockercfg .dockerconfigjson .s3cfg .boto "
        ".rclone.conf rclone.conf .modal.toml .databrickscfg kaggle.json .terraformrc terraform.rc "
        "credentials.tfrc.json .vault-token .vault_pass .vault_pass.txt vault_pass.txt .htpasswd "
        "htpasswd .ftpconfig .remote-sync.json sftp-config.json .vscode/sftp.json "
        ".idea/webservers.xml .idea/datasources.local.xml .esmtprc .msmtprc .fetchmailrc .muttrc "
        ".tugboat .gem/credentials .cargo/credentials .cargo/credentials.toml .m2/settings.xml "
        ".m2/settings-security.xml .gradle/gradle.properties .hgrc .comet.config "
        "application_default_credentials.json accesskeys.csv rootkey.csv master.key "
        "jupyter_cookie_secret .erlang.cookie .xauthority recentservers.xml filezilla.xml "
        "sitemanager.xml etc/shadow proftpdpasswd .credentials credentials kubeconfig .kubeconfig",
        _SETTINGS: ".dev.vars local.settings.json .renviron .bashrc .bash_profile .bash_login "
        ".profile .zshrc .zshenv .zprofile .aider.conf.yml",
        _KEY: "id_rsa id_dsa id_ecdsa id_ed25519 id_ecdsa_sk id_ed25519_sk id_xmss secring.gpg "
        "otr.private_key",
        _PASSWORDS: "wallet.dat key3.db key4.db logins.json signons.sqlite cookies.sqlite",
        _HISTORY: ".histfile .zhistory .lesshst .viminfo fish_history history.sqlite "
        "repl_history.jl consolehost_history.txt",
    }
)
_SUFFIXES = _by_name(
    {
        _KEY: ".pfx .p12 .pkcs12 .jks .jceks .bks .keystore .ppk .agekey .pk8",
        _PASSWORDS: ".kdbx .psafe3 .opvault .keychain .keychain-db .keyring .kwallet",
        _CREDENTIALS: ".ovpn .kubeconfig .publishsettings",
        _SETTINGS: ".env",
        _TERRAFORM: ".tfstate .tfvars",
    }
)
_CONFIG = r"(?:json|ya?ml|toml|ini|cfg|conf|csv|xml|txt)"
_PATTERNS = (
    (re.compile(r"\.env(?:rc|[._-].*)?"), _SETTINGS),
    (re.compile(r"\.[a-z0-9_.-]*history"), _HISTORY),
    (
        re.compile(
            r"(?:.*[._-])?(?:secrets?|credentials?|service[_-]?account)(?:[_-]key)?"
            r"\.(?:json|ya?ml|toml|ini|cfg|conf)"
        ),
        _CREDENTIALS,
    ),
    (re.compile(r"\.?credentials?\.(?:csv|txt|xml|db)"), _CREDENTIALS),
    (re.compile(r"client_secrets?.*\.json"), _CREDENTIALS),
    (
        re.compile(
            rf"(?:.*[._-])?(?:api|secret|access|auth|private)[_-]?(?:key|token)s?(?:\.{_CONFIG})?"
        ),
        _CREDENTIALS,
    ),
    (re.compile(r".*\.tfvars\.json"), _TERRAFORM),
)
# At once, because nearly all names match none.
_ALL_SUFFIXES = tuple(_SUFFIXES)
_ANY_PATTERN = re.compile("|".join(f"(?:{rule.pattern})" for rule, _ in _PATTERNS))
# What tools append to the name of a copy: `.env.bak`, `terraform.tfstate.1700000000.backup`.
_COPY = re.compile(r"(?:~|#|[._-](?:bak|backup|old|orig|save|copy|swp|swo|tmp|\d+))\Z")
# A file for the user to begin with: it has the names of the settings, and no values.
_EXAMPLE = re.compile(
    r"(?:.*[._-])?(?:example|sample|template)(?:[._-].*)?"
    r"|.*\.(?:dist|tmpl|tpl|j2|jinja2?|defaults?|schema)"
)
_PUBLIC_SUFFIXES = (".pub", ".vault", ".baseline", ".gpg", ".enc", ".age")
_SOURCE_SUFFIXES = (
    *(".py", ".pyi", ".pyx", ".pxd", ".pyc", ".so", ".pyd", ".ipynb", ".md", ".rst", ".html"),
    *(".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".rs", ".go", ".js", ".ts", ".java", ".jl", ".r"),
)

_PRIVATE_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
    rb"|---- BEGIN SSH2 (?:ENCRYPTED )?PRIVATE KEY ----"
    rb"|\APuTTY-User-Key-File-"
    rb"|\ASSH PRIVATE KEY FILE FORMAT"
    rb"|AGE-SECRET-KEY-1"
    rb"|\Auntrusted comment: [^\n]*secret key"
    rb"|(?m:^[ \t]*PrivateKey[ \t]*=[ \t]*[A-Za-z0-9+/]{40})"  # WireGuard
    # PKCS#8, PKCS#1 and SEC 1 in DER: a sequence that begins with the version, 0 or 1.
    rb"|\A\x30(?s:[\x00-\x7f]|\x81.|\x82..)\x02\x01[\x00\x01][\x02\x04\x30]",
)
# Each is a list of what must all be found: one expression for both would take quadratic time.
_JSON_KEY = (re.compile(rb'"kty"\s*:'), re.compile(rb'"d"\s*:'))  # RFC 7517
_CREDENTIAL_CONTENTS = re.compile(
    rb'"type"\s*:\s*"(?:service_account|(?:external_account_)?authorized_user)"'
    rb'|"(?:private_key|client_secret|refresh_token)"\s*:\s*"[^"]'
    rb'|"auths"\s*:\s*\{'  # Docker
    rb"|aws_secret_access_key[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{16}"
    rb"|\A(?:\xef\xbb\xbf)?(?:User name,.*)?Access key ID,(?:.*,)?Secret access key"
    rb"|^[ \t]*client-key-data:[ \t]*\S"
    rb"|^machine\s+\S+\s+(?:login\s+\S+\s+)?password\s",
    re.MULTILINE,
)
_KUBERNETES_LOGIN = (
    re.compile(rb"^[\"' \t]*kind[\"']?:[\"' \t]*Config\b", re.MULTILINE),
    re.compile(rb"^[\"' \t]*users[\"']?:", re.MULTILINE),
)
_KUBERNETES_SECRET = (
    re.compile(rb"^kind:[\"' \t]*Secret\b", re.MULTILINE),
    re.compile(rb"^(?:stringD|d)ata:", re.MULTILINE),
)
# Settings of installers, which are secret only if a URL in them has a password.
_INSTALLER_FILES = frozenset(
    ("pip.conf", "pip.ini", "uv.toml", "poetry.toml", ".condarc", ".yarnrc.yml", ".gitconfig")
)
_URL_PASSWORD = re.compile(rb"://[^/\s:@\"']+:[^/\s@\"'$]+@|npmAuthToken:\s*\S")
# One of these words is in whatever the expressions above match, except in keys in DER.
_WORDS = (
    *(b"PRIVATE KEY", b"SECRET-KEY", b"PuTTY", b"PrivateKey", b'"kty"', b"secret", b"Secret"),
    *(b"private_key", b"refresh_token", b"authorized_user", b"service_account", b'"auths"'),
    *(b"client-key", b"password", b"users"),
)
_PUBLIC_CONTENT = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ )*(?:CERTIFICATE(?: REQUEST)?|PUBLIC KEY(?: BLOCK)?|CRL|PKCS7|CMS"
    rb"|PARAMETERS|SIGNATURE)-----|---- BEGIN SSH2 PUBLIC KEY ----|\Assh-|\APK\x03\x04|\A\s*\Z"
)


def secret_by_name(path: str, *, is_folder: bool) -> str | None:
    """Return what secret the file or folder at ``path`` holds, by its name; None if it does not.

    ``path`` is relative, with ``/``. The folders above it are not judged.
    """
    parts = path.lower().split("/")
    name = parts[-1]
    if is_folder:
        reason = _lookup(parts, _FOLDERS)
        return reason or (_SETTINGS if name.startswith(".env.") or name == ".env" else None)
    if name.endswith((*_PUBLIC_SUFFIXES, *_SOURCE_SUFFIXES)) or _EXAMPLE.fullmatch(name):
        return None
    for original in _originals(name):
        if found := _lookup([*parts[:-1], original], _FILES):
            return found
        if original.endswith(_ALL_SUFFIXES):
            return next(why for suffix, why in _SUFFIXES.items() if original.endswith(suffix))
        if _ANY_PATTERN.fullmatch(original):
            return next(why for rule, why in _PATTERNS if rule.fullmatch(original))
    return None


def is_judged_by_content(name: str) -> bool:
    """Return whether a file of this name is to be given to `secret_by_content`."""
    return not name.lower().endswith(_SOURCE_SUFFIXES)


def secret_by_content(name: str, head: bytes) -> str | None:
    """Return what secret a file holds that begins with ``head``; None if there is none."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):  # UTF-16, as some of Windows' tools write it
        head = head[2:].replace(b"\0", b"")
    if head[:1] == b"\x30" or any(word in head for word in _WORDS):
        if _PRIVATE_KEY.search(head) or _has_all(_JSON_KEY, head):
            return _KEY
        if _CREDENTIAL_CONTENTS.search(head):
            return _CREDENTIALS
        if _has_all(_KUBERNETES_LOGIN, head) or _has_all(_KUBERNETES_SECRET, head):
            return _CREDENTIALS
    if name.lower() in _INSTALLER_FILES and _URL_PASSWORD.search(head):
        return _CREDENTIALS
    if name.lower().endswith((".pem", ".key", ".p8")) and not _PUBLIC_CONTENT.search(head):
        return _KEY
    return None


def _has_all(rules: Iterable[re.Pattern[bytes]], content: bytes) -> bool:
    return all(rule.search(content) for rule in rules)


def _lookup(parts: list[str], names: Mapping[str, str]) -> str | None:
    """Look up the last one, two and three parts of a path."""
    for count in range(1, min(len(parts), 3) + 1):
        if reason := names.get("/".join(parts[-count:])):
            return reason
    return None


def _originals(name: str) -> Iterator[str]:
    """Yield a file's name, and the names of files that it may be a copy of."""
    yield name
    while (shorter := _COPY.sub("", name)) != name and shorter:
        name = shorter
        yield name
        yield name.lstrip("#").removeprefix(".")  # vim's `.id_rsa.swp`
        yield name.lstrip("#")  # Emacs' `#.env#`
