"""An identity provider on another host says who comes in; the app reaches it, and nothing else.

The provider is at an address of the lab that networks of mcp_app_oidc names, and known to a name
server that the host has been given: the app asks both from within its sandbox.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from key_value.aio.stores.memory import MemoryStore
from lab import ADDRESSES, KEY, NET, ROOT, SSH, TARGET6, Companion, connect, names_of, play
from node_tools import NODE, install
from oidc_lab import ACCOUNTS, HERE, SECRET, Browser, call_tool
from testinfra.host import Host

pytestmark = [
    pytest.mark.usefixtures("trusting", "signed"),  # in this order
    pytest.mark.filterwarnings("ignore:Using in-memory token storage"),
]

SITE = str(ROOT / "playbooks/site.yml")
URL = "https://mcp.test/mcp"
NAME, PORT = "idp.test", 9443
ELSEWHERE = f"10.203.{NET}.21"  # another address of the provider's host, which the sandbox denies
# What the app does, by its user, and out of the sandbox.
PYTHON = "/srv/codeintel/current/venv/bin/python"
REACH = f"import httpx2; print(httpx2.get('https://{NAME}:{PORT}/jwks').status_code)"
AUTHORITY = "/usr/local/share/ca-certificates/idp.crt"


def bring_provider() -> None:
    """Copy the provider, its packages and Node to its host, which has no registry to ask."""
    places = ((NODE / "bin", "node"), (install(HERE), "node_modules"), (HERE, "provider.cjs"))
    pack = ["tar", "-c", *(part for folder, name in places for part in ("-C", str(folder), name))]
    unpack = "mkdir -p /opt/idp && tar -x --no-same-owner -C /opt/idp"
    there = ["ssh", "-i", KEY, *SSH.split(), f"root@{ADDRESSES['acme']}", unpack]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
        subprocess.run(there, stdin=packing.stdout, check=True)


@pytest.fixture(scope="module")
def authority() -> Iterator[str]:
    """Run the provider; yield its certificate."""
    acme = connect("acme")
    bring_provider()
    acme.check_output(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj /CN=%s"
        " -addext subjectAltName=DNS:%s -keyout /opt/idp/key.pem -out /opt/idp/certificate.pem",
        NAME,
        NAME,
    )
    options = {
        "packages": "/opt/idp",
        "port": PORT,
        "secret": SECRET,
        "callback": "https://mcp.test/auth/callback",
        "accounts": ACCOUNTS,
        "claims_in_token": True,
        "seconds": 600,
        "tls": {
            "host": NAME,
            "certificate": "/opt/idp/certificate.pem",
            "key": "/opt/idp/key.pem",
        },
    }
    command = ["/opt/idp/node", "/opt/idp/provider.cjs", json.dumps(options)]
    acme.check_output(
        f"systemd-run --unit=idp --collect {shlex.join(command)}"
        f" && ip address replace {ELSEWHERE}/24 dev eth0"
    )
    yield acme.file("/opt/idp/certificate.pem").content_string
    acme.check_output(f"systemctl stop idp; ip address delete {ELSEWHERE}/24 dev eth0")


@contextmanager
def named(client: Host, address: str) -> Iterator[None]:
    """Have the name server say that the provider is there, and see that it was asked."""
    server = Companion(client, "probe.names", NAME, address)
    try:
        yield
    finally:
        asked = server.result()
    assert asked > 0


@pytest.fixture(scope="module")
def trusting(
    authority: str, target: Host, client: Host, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Have the host trust the provider and ask the name server; this process trusts both."""
    bundle = tmp_path_factory.mktemp("trust") / "authorities.pem"
    bundle.write_text(client.file("/etc/ssl/certs/ca-certificates.crt").content_string + authority)
    resolvers = target.file("/etc/resolv.conf").content_string
    first = f"nameserver {ADDRESSES['client']}\n{resolvers}"
    # The file is the engine's own: it can be written, and not replaced.
    target.check_output(
        f"printf %%s %s >{AUTHORITY}; update-ca-certificates; printf %%s %s >/etc/resolv.conf",
        authority,
        first,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(bundle))
        yield
    target.check_output(
        f"rm {AUTHORITY}; update-ca-certificates --fresh; printf %%s %s >/etc/resolv.conf",
        resolvers,
    )


@pytest.fixture(scope="module")
def signed(client: Host) -> Iterator[None]:
    """Put the provider at the door of the host, and take it away again."""
    about = {
        "issuer": f"https://{NAME}:{PORT}",
        "client_id": "edge",
        "client_secret": SECRET,
        "allowed": ["alice@example.com"],
        "networks": [ADDRESSES["acme"]],
    }
    with named(client, ADDRESSES["acme"]):
        done = play(SITE, "-e", json.dumps({"mcp_app_auth": "oidc", "mcp_app_oidc": about}))
        assert done.returncode == 0, done.stdout[-3000:]
    yield
    done = play(SITE)
    assert done.returncode == 0, done.stdout[-3000:]


def come_in(person: str, storage: MemoryStore | None = None) -> str:
    """Sign in with a client and a browser of this machine; return what a tool says."""
    with names_of({"mcp.test": TARGET6, NAME: ADDRESSES["acme"]}):
        return asyncio.run(call_tool(URL, Browser(person), storage or MemoryStore(), "status"))


def test_who_is_on_the_list_comes_in_and_others_do_not(client: Host) -> None:
    with named(client, ADDRESSES["acme"]):
        assert '"version"' in come_in("alice")
        with pytest.raises(RuntimeError, match="denied"):
            come_in("mallory")


def test_the_sandbox_lets_the_app_go_nowhere_else(client: Host, target: Host) -> None:
    """The provider moves to an address that is not among the networks; others reach it there."""
    with named(client, ELSEWHERE):
        assert target.check_output(f"runuser -u codeintel -- {PYTHON} -c %s", REACH) == "200"
        with pytest.raises(RuntimeError, match="no usable answer"):
            come_in("alice")
    with named(client, ADDRESSES["acme"]):
        assert '"version"' in come_in("alice")
