"""Recognise files that look like they hold secrets, by name and by content."""

import re
from fnmatch import translate

from codeintel.regex import compile_regex

_NAMES = (
    ".env*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.ppk",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    ".pgpass",
    ".htpasswd",
    ".git-credentials",
    ".pypirc",
)
_NAME = re.compile("|".join(map(translate, _NAMES)))

# A key header counts only before a line end (raw or escaped), so that code which merely
# compares with the marker stays readable; token formats are those of their issuers.
_CONTENT = compile_regex(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?:[ \t]*\r?$|\\n)"
    rb"|\bAKIA[0-9A-Z]{16}\b"
    rb"|\bgh[pousr]_[0-9A-Za-z]{36}"
    rb"|\bgithub_pat_[0-9A-Za-z_]{50}"
    rb"|\bglpat-[0-9A-Za-z_-]{20}"
    rb"|\bxox[abprs]-[0-9A-Za-z-]{20}"
    rb"|\bAIza[0-9A-Za-z_-]{35}"
    rb"|\bnpm_[0-9A-Za-z]{36}"
    rb"|\bpypi-AgE[0-9A-Za-z_-]{50}"
    rb"|\bsk-(?:ant|proj)-[0-9A-Za-z_-]{20}"
    rb"|(?i:\baws_secret_access_key[\"']?\s*[=:]\s*[\"']?)[0-9A-Za-z/+]{40}"
)


def is_secret_name(path: str) -> bool:
    """Say whether the last component of `path` is the usual name of a secret."""
    name = path.rpartition("/")[2].lower()
    # A private key has no extension: id_deploy is one, id_generator.py is not.
    if name.startswith("id_") and "." not in name:
        return True
    return _NAME.match(name) is not None


def has_secret_content(data: bytes) -> bool:
    """Say whether `data` contains a private key or a well-known kind of access token."""
    return _CONTENT.search(data) is not None
