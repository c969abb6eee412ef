"""The product's tools as FastMCP and uvicorn serve them when nobody looks at the speed.

The same indexes, functions and middlewares, but: each tool in a thread and with the schema of its
answer, streams that can be resumed, answers in event streams, all tools listed before each call of
the stateless era, and uvicorn's access log beside the application's.
"""

from functools import partial

from codeintel.app import create_app
from codeintel.context import create_context
from codeintel.server import INSTRUCTIONS, READ_ONLY
from codeintel.settings import load_settings
from codeintel.tools import Tools
from fastmcp import FastMCP
from fastmcp.server.event_store import EventStore
from fastmcp.tools import Tool

settings = load_settings()
server = FastMCP("codeintel", instructions=INSTRUCTIONS)
for function, title, _ in Tools(create_context(settings)).table():
    server.add_tool(Tool.from_function(function, title=title, annotations=READ_ONLY))
server.http_app = partial(server.http_app, event_store=EventStore())  # type: ignore[method-assign]
app = create_app(settings, server)
