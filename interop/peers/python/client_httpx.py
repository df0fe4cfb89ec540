"""The official asynchronous Python client, over httpx."""

import asyncio

from eth_account import Account
from peer import failure, purchase, setting, show
from x402 import x402Client
from x402.http.clients import wrapHttpxWithPayment
from x402.mechanisms.evm.exact import register_exact_evm_client


async def main():
    client = register_exact_evm_client(x402Client(), Account.from_key(setting("PRIVATE_KEY")))
    try:
        async with wrapHttpxWithPayment(client, timeout=60) as http:
            show(purchase(await http.get(setting("URL"))))
    except Exception as error:
        show(failure(error))


asyncio.run(main())
