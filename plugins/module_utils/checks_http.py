# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of the certificate, the HTTP versions and Alt-Svc."""

from __future__ import annotations

import asyncio
import re
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.codeintel.mcp_edge.plugins.module_utils.checks import (
    Check,
    CheckFailed,
    attempt,
)
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.endpoint import (
    VERSIONS,
    Endpoint,
    Protocol,
    TcpTransport,
)
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.h3_transport import H3Transport
from cryptography import x509

OK = 200

# Less than a third of its lifetime left is late for a certificate: certbot renews it a day earlier.
LATEST_RENEWAL = 3
HOURS_TOLD = 72  # up to which a time is told in hours

# RFC 7838: h3="[host]:port", beside other alternatives and parameters.
ALT_SVC_H3 = re.compile(r'(?:^|,)\s*h3="(?P<host>[^"]*):(?P<port>\d+)"')


async def check_certificate(endpoint: Endpoint) -> Check:
    """Check that a CA vouches for the endpoint's name, today and for some time to come."""

    async def check() -> dict[str, Any]:
        try:
            certificate = await _peer_certificate(endpoint, endpoint.tls())
        except ssl.SSLCertVerificationError as exc:
            unchecked = endpoint.tls()
            unchecked.check_hostname = False
            unchecked.verify_mode = ssl.CERT_NONE
            seen = _facts(await _peer_certificate(endpoint, unchecked))
            raise CheckFailed(
                f"one for {', '.join(seen['names'])} by {seen['issuer']}: {exc.verify_message}",
                seen,
            ) from exc
        seen = _facts(certificate)
        if late := _late(certificate):
            raise CheckFailed(f"{seen['serial']} by {seen['issuer']}, {late}", seen)
        return seen

    return await attempt(
        "certificate",
        f"a valid certificate for {endpoint.host} with a third of its lifetime left",
        endpoint.timeout,
        check,
    )


async def check_status(endpoint: Endpoint, protocol: Protocol, path: str) -> Check:
    """Check that a path answers 200 over one version of HTTP."""

    async def check() -> int:
        async with endpoint.client(protocol) as client:
            response = await client.get(path)
        if response.status_code != OK:
            raise CheckFailed(f"status {response.status_code}", response.status_code)
        return response.status_code

    return await attempt(
        f"{protocol}.status",
        f"status {OK} from {path} over {VERSIONS[protocol]}",
        endpoint.timeout,
        check,
    )


async def check_alt_svc(endpoint: Endpoint, path: str) -> Check:
    """Check that the header which sends browsers to HTTP/3 sends them to a server."""

    async def check() -> str:
        tcp = TcpTransport(endpoint, (VERSIONS["h1"], VERSIONS["h2"]))
        async with endpoint.client_over(tcp) as client:
            header = (await client.get(path)).headers.get("alt-svc")
        alternative = ALT_SVC_H3.search(header or "")
        if alternative is None:
            raise CheckFailed(f"the header {header}" if header else "no such header", header)
        host = alternative["host"].strip("[]") or endpoint.address or endpoint.host
        h3 = H3Transport(ca_path=endpoint.ca_path, connect_to=(host, int(alternative["port"])))
        try:
            async with endpoint.client_over(h3) as client:
                await client.get(path)
        except Exception as exc:
            raise CheckFailed(f"{header}, where nothing answers: {exc}", header) from exc
        return str(header)

    return await attempt(
        "alt_svc", "an Alt-Svc header that leads to HTTP/3", endpoint.timeout, check
    )


async def _peer_certificate(endpoint: Endpoint, context: ssl.SSLContext) -> x509.Certificate:
    _, writer = await asyncio.open_connection(
        endpoint.address or endpoint.host,
        endpoint.port,
        ssl=context,
        server_hostname=endpoint.host,
    )
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    return x509.load_der_x509_certificate(der)


def _late(certificate: x509.Certificate) -> str | None:
    """Say that a certificate should have been renewed, if so; its deploy hook says when that is."""
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    if left * LATEST_RENEWAL >= lifetime:
        return None
    return (
        f"with {_length(left)} of {_length(lifetime)} left: it should have been renewed; on the "
        "host, see systemctl status certbot.timer and journalctl -u certbot"
    )


def _length(time: timedelta) -> str:
    hours = time / timedelta(hours=1)
    return f"{hours:.0f} hours" if hours < HOURS_TOLD else f"{hours / 24:.0f} days"


def _facts(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "issuer": certificate.issuer.rfc4514_string(),
        "subject": certificate.subject.rfc4514_string(),
        "names": _names(certificate),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "days_left": (certificate.not_valid_after_utc - datetime.now(UTC)).days,
        "serial": f"{certificate.serial_number:x}",
    }


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]
