import pytest
from codeintel.sensitive import has_secret_content, is_secret_name


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "deploy/.env.production",
        "tls/server.KEY",
        "a.pem",
        "a.p12",
        "home/id_rsa",
        "id_ed25519.pub",
        "keys/id_deploy",
        ".netrc",
        ".pypirc",
        "prod.env",
        "keys/putty.ppk",
    ],
)
def test_names_of_secrets(path: str) -> None:
    assert is_secret_name(path)


@pytest.mark.parametrize("path", ["id_generator.py", "environment.py", "keys/README.md", "pem.c"])
def test_names_of_code(path: str) -> None:
    assert not is_secret_name(path)


@pytest.mark.parametrize(
    "content",
    [
        "x = 1\n-----BEGIN " + "OPENSSH PRIVATE KEY-----\nb3Blb",
        '{"key": "-----BEGIN ' + 'PRIVATE KEY-----\\nMIIE"}',
        "-----BEGIN " + "RSA PRIVATE KEY-----\r\nMIIE",
        "token: ghp_" + "a1B2" * 9,
        "AKIA" + "ABCDEFGH12345678",
        "glpat-" + "x" * 20,
        "-----BEGIN " + "EC PRIVATE KEY-----  \nMIIE",
        "//registry.example.com/:_authToken=npm_" + "x" * 36,
        "password = pypi-AgE" + "x" * 50,
        "ANTHROPIC_API_KEY=sk-ant-" + "x" * 20,
        "aws_secret_access_key = " + "a1/+" * 10,
    ],
)
def test_secret_content(content: str) -> None:
    assert has_secret_content(content.encode())


@pytest.mark.parametrize(
    "content",
    [
        'if line == "-----BEGIN ' + 'PRIVATE KEY-----":',
        "ghp_short",
        "aws_secret_access_key = get('the name of a setting that is a long one')",
        "-----BEGIN CERTIFICATE-----\n",
    ],
)
def test_code_about_secrets_is_kept(content: str) -> None:
    assert not has_secret_content(content.encode())
