"""The dates of the certificate that is served are in the metrics, whatever the file is."""

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from codeintel.app import create_app
from codeintel.settings import Settings
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette

pytestmark = pytest.mark.anyio

Run = Callable[[Starlette], AbstractAsyncContextManager[httpx2.AsyncClient]]

FROM = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def certificate(days: int) -> bytes:
    """Return a certificate of some days from `FROM` on."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mcp.example.com")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), days)
    builder = builder.not_valid_before(FROM).not_valid_after(FROM + timedelta(days=days))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def put(path: Path, content: bytes) -> None:
    """Replace the file in one step, as the deploy hook does."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


async def test_the_dates_follow_the_file(
    settings: Settings, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "certificate.pem"

    async def seen() -> dict[str, float]:
        answer = await client.get("/api/metrics")
        assert answer.status_code == 200
        found = re.findall(
            r"^codeintel_certificate_(\w+)_timestamp_seconds (.+)$", answer.text, re.MULTILINE
        )
        return {name: float(value) for name, value in found}

    def of(days: int) -> dict[str, float]:
        start = FROM.timestamp()
        return {"not_before": start, "not_after": start + days * 86400}

    async with run(create_app(settings.model_copy(update={"certificate": path}))) as client:
        assert await seen() == {}
        put(path, certificate(90))
        assert await seen() == await seen() == of(90)
        put(path, certificate(6) + certificate(3650))  # with its issuer's
        assert await seen() == of(6)
        assert "no certificate" not in capsys.readouterr().err
        for broken in (b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAA==\n"):
            put(path, broken)
            assert await seen() == await seen() == {}
        assert capsys.readouterr().err.count("no certificate") == 3  # not with each scrape
        put(path, certificate(45))
        assert await seen() == of(45)
        path.unlink()
        assert await seen() == {}
        path.mkdir()
        assert await seen() == {}


async def test_without_a_path_there_is_nothing(settings: Settings, run: Run) -> None:
    async with run(create_app(settings)) as client:
        assert "codeintel_certificate" not in (await client.get("/api/metrics")).text
