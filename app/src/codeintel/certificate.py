"""The dates of the certificate that is served."""

import logging
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)


class CertificateDates(Collector):
    """The dates of the certificate in a file, as metrics; there are none without the file."""

    def __init__(self, path: Path | None) -> None:
        """Look at `path`, or at nothing, whenever metrics are asked for."""
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._certificate: x509.Certificate | None = None

    def collect(self) -> Iterable[Metric]:
        """Yield both dates, in seconds of the epoch."""
        certificate = self._read()
        if certificate is not None:
            yield GaugeMetricFamily(
                "codeintel_certificate_not_before_timestamp_seconds",
                "From when the certificate that is served is valid.",
                certificate.not_valid_before_utc.timestamp(),
            )
            yield GaugeMetricFamily(
                "codeintel_certificate_not_after_timestamp_seconds",
                "Until when the certificate that is served is valid.",
                certificate.not_valid_after_utc.timestamp(),
            )

    def _read(self) -> x509.Certificate | None:
        """Return the certificate, which is read anew when the file is another one."""
        if self._path is None:
            return None
        try:
            status = self._path.stat()
            stamp = (status.st_ino, status.st_ctime_ns, status.st_size)
            if stamp != self._stamp:
                self._stamp = stamp
                # The first one; the others of a chain are its issuers'.
                self._certificate = x509.load_pem_x509_certificate(self._path.read_bytes())
        except FileNotFoundError:
            self._stamp = self._certificate = None
        except (OSError, ValueError) as error:
            logger.warning("no certificate in %s: %s", self._path, error)
            self._certificate = None
        return self._certificate
