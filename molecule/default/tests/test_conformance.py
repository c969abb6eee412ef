"""The official suite through nginx, against its own server in the place of the product's.

The unit, its sandbox, the composite and the middlewares are those of the product.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import node_tools
import pytest
from conformance_suite import EXPECTED, failed_scenarios
from lab import ROOT, TARGET6
from testinfra.host import Host

FIXTURE = ROOT / "app/tests/conformance/fixture_app.py"
RESOLVE = ROOT / "app/tests/conformance/resolve.cjs"
# It fails for any address that is not of this machine; test_refusals.py asks nginx what it would.
LOCAL = {"dns-rebinding-protection"}
DROP_IN = "/run/systemd/system/codeintel@.service.d/conformance.conf"


@pytest.fixture
def fixture_server(target: Host) -> Iterator[None]:
    start = target.check_output("systemctl cat codeintel@.service | grep ^ExecStart=")
    command = start.replace("codeintel.asgi:app", "fixture_app:app")
    assert command != start
    unit = f"[Service]\nEnvironment=PYTHONPATH=/usr/local/lib/conformance\nExecStart=\n{command}\n"
    target.check_output(
        "install -d /usr/local/lib/conformance $(dirname %s)"
        " && printf %%s %s > /usr/local/lib/conformance/fixture_app.py && printf %%s %s > %s"
        " && systemctl daemon-reload && systemctl restart codeintel.service",
        DROP_IN,
        FIXTURE.read_text(),
        unit,
        DROP_IN,
    )
    yield
    target.check_output(
        "rm -r /usr/local/lib/conformance $(dirname %s)"
        " && systemctl daemon-reload && systemctl restart codeintel.service",
        DROP_IN,
    )


@pytest.mark.parametrize("revision", EXPECTED)
@pytest.mark.usefixtures("fixture_server")
def test_required_scenarios(client: Host, tmp_path: Path, revision: str) -> None:
    node_tools.install()
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(client.check_output("cat /etc/ssl/certs/ca-certificates.crt"))
    failed = failed_scenarios(
        "https://mcp.test/mcp",
        revision,
        tmp_path / "results",
        NODE_EXTRA_CA_CERTS=str(authorities),
        NODE_OPTIONS=f"--require={RESOLVE}",
        # An address of the network that the scenario does not limit.
        RESOLVE=json.dumps({"mcp.test": TARGET6}),
    )
    assert failed - LOCAL == EXPECTED[revision]
