"""The application that a server loads: ``codeintel.asgi:app``."""

from codeintel.app import create_app
from codeintel.errors import CodeintelError
from codeintel.settings import load_settings

try:
    app = create_app(load_settings())
except CodeintelError as error:
    raise SystemExit(f"codeintel: {error}") from error
