"""What the parts of the server are told beside Hypercorn's own configuration."""

from collections.abc import Callable
from ssl import SSLContext

from hypercorn.config import Config

from .access_log import flood_line
from .certificates import Certificates
from .limits import Limits


class EdgeConfig(Config):
    """Hypercorn's configuration, which knows the certificate that its TLS contexts use."""

    certificates: Certificates | None = None
    limits: Limits | None = None
    max_body_size = 0  # bytes; 0 allows any
    write_access: Callable[[str], None] | None = None  # a line of the access log

    def create_ssl_context(self) -> SSLContext | None:
        """Return the context for TCP, which `certificates` renews."""
        context = super().create_ssl_context()
        if context is not None and self.certificates is not None:
            self.certificates.serve_tls(context)
        return context

    def floods(self, client: tuple[str, int] | None, requests: int, http_version: str) -> bool:
        """Count so many requests of a client, and say whether its connection is to end."""
        if self.limits is None or client is None or not self.limits.floods(client[0], requests):
            return False
        if self.write_access is not None:
            self.write_access(flood_line(client, http_version))
        return True
