"""Renew the certificate of a running server."""

import ssl
from pathlib import Path
from ssl import SSLContext

from aioquic.quic.configuration import QuicConfiguration

Pair = tuple[Path, Path]


class Certificates:
    """The certificate, and the live objects that new handshakes read it from.

    Both are changed in place, so that connections that are open live on.
    """

    def __init__(self, certfile: str, keyfile: str, password: str | None, folder: str) -> None:
        """Fall back on `certfile` and `keyfile` where `folder`, if any, lacks a pair."""
        self._fallback = (Path(certfile), Path(keyfile))
        self._password = password
        self._folder = Path(folder) if folder else None
        self._tls: list[SSLContext] = []
        self._quic: list[QuicConfiguration] = []

    def current(self) -> Pair:
        """Return the paths of certificate chain and key that are to be served now."""
        if self._folder is not None:
            folder = self._folder.resolve()  # once: a link that changes must not mix two pairs
            pair = (folder / "fullchain.pem", folder / "privkey.pem")
            if all(path.exists() for path in pair):
                return pair
        return self._fallback

    def load(self) -> Pair:
        """Load the current pair, if it is sound, and return it.

        Raises OSError (ssl.SSLError is one) or ValueError, and changes nothing then.
        """
        certificate, key = self.current()
        scratch: list[SSLContext | QuicConfiguration] = [SSLContext(ssl.PROTOCOL_TLS_SERVER)]
        if self._quic:
            scratch.append(QuicConfiguration(is_client=False))
        for target in [*scratch, *self._tls, *self._quic]:
            target.load_cert_chain(certificate, key, self._password)
        return certificate, key

    def serve_tls(self, context: SSLContext) -> None:
        """Renew `context` from now on."""
        self._tls.append(context)

    def serve_quic(self, configuration: QuicConfiguration) -> None:
        """Renew `configuration` from now on."""
        self._quic.append(configuration)
