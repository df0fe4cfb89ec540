"""An MCP server by the official Python SDK over streamable HTTP, which knows nothing of payments."""

import os

from mcp.server.mcpserver import Context, MCPServer
from peer import serve

server = MCPServer("arithmetic")


@server.tool()
async def add(a: int, b: int, context: Context) -> str:
    """Adds two numbers, and says so on the way."""
    await context.report_progress(0.5, 1.0)
    return f"{a} + {b} = {a + b}"


@server.tool()
def divide(a: int, b: int) -> str:
    """Divides a number by another, which fails for zero."""
    return f"{a // b}"


@server.tool()
def greet(name: str) -> str:
    """Costs nothing."""
    return f"hello {name}"


serve(server.streamable_http_app(json_response=os.environ.get("JSON") == "1"))
