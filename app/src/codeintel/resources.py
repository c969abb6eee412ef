"""The indexed files as MCP resources, ``codeintel://REPOSITORY/PATH``."""

from fastmcp.resources import ResourceTemplate
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from codeintel.context import ApplicationContext
from codeintel.errors import CodeintelError
from codeintel.reading import open_file

URI_TEMPLATE = "codeintel://{repository}/{path*}"


def file_template(context: ApplicationContext) -> ResourceTemplate:
    """Return the template whose resources are the whole files of every index."""

    def file(repository: str, path: str) -> str:
        """Text of an indexed file; read shows parts of long ones."""
        try:
            with context.indexes.open(repository) as index:
                return open_file(index, path).text
        except CodeintelError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from error

    return ResourceTemplate.from_function(
        file, URI_TEMPLATE, title="Indexed file", mime_type="text/plain"
    )
