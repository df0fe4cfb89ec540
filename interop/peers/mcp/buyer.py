"""Buys tools with the official Python SDKs, the protocol's and MCP's; prints one JSON line for what it was told to call."""

import asyncio
import json
from types import SimpleNamespace

from eth_account import Account
from mcp import Client
from peer import setting, show
from x402 import x402Client
from x402.mcp.client_async import x402MCPClient
from x402.mechanisms.evm.exact import ExactEvmClientScheme
from x402.mechanisms.evm.signers import EthAccountSigner


class Session:
    """MCP's own client, as the payment SDK calls it."""

    def __init__(self, client):
        self._client = client

    async def call_tool(self, params, read_timeout_seconds=None, **_):
        result = await self._client.call_tool(params["name"], params.get("arguments"), meta=params.get("_meta"))
        # The payment SDK reads results by the names that they have on the wire.
        return SimpleNamespace(**result.model_dump(mode="json", by_alias=True, exclude_none=True))


async def main():
    payer = x402Client()
    payer.register("eip155:*", ExactEvmClientScheme(EthAccountSigner(Account.from_key(setting("KEY")))))
    answers = []
    async with Client(setting("MCP_URL"), mode=setting("MODE")) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        buyer = x402MCPClient(Session(client), payer, auto_payment=True)
        for name, arguments in json.loads(setting("CALLS")):
            try:
                result = await buyer.call_tool(name, arguments)
            except Exception as error:
                answers.append({"error": str(error)})
                continue
            answers.append({
                "text": [part["text"] if isinstance(part, dict) else part.text for part in result.content],
                "isError": result.is_error,
                "paid": result.payment_made,
                "settlement": result.payment_response.model_dump(by_alias=True) if result.payment_response else None,
            })
    show({"tools": tools, "answers": answers})


asyncio.run(main())
