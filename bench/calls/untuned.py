"""The product's server as it would be without what makes its calls fast: for comparison."""

from codeintel import __version__
from codeintel.app import create_app
from codeintel.context import ApplicationContext
from codeintel.metrics import Metrics
from codeintel.server import build_server
from codeintel.settings import load_settings
from codeintel.store import IndexDirectory

settings = load_settings()
server = build_server(
    ApplicationContext(__version__, settings, IndexDirectory(settings.index_dir)), Metrics()
)
server._mcp_server.get_tool_input_schema = None
app = create_app(settings, server)  # a server of somebody else's answers in event streams
