"""The official synchronous Python client, over requests."""

import requests
from eth_account import Account
from peer import failure, purchase, setting, show
from x402 import x402ClientSync
from x402.http.clients import wrapRequestsWithPayment
from x402.mechanisms.evm.exact import register_exact_evm_client

client = register_exact_evm_client(x402ClientSync(), Account.from_key(setting("PRIVATE_KEY")))
try:
    with wrapRequestsWithPayment(requests.Session(), client) as http:
        show(purchase(http.get(setting("URL"), timeout=60)))
except Exception as error:
    show(failure(error))
