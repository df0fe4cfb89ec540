"""The official Python client over httpx as a process that buys whatever it is told to: one start for many purchases."""

import logging

from eth_abi import encode
from eth_account import Account
from fastapi import FastAPI, Request
from peer import failure, purchase, serve, setting
from x402 import x402Client
from x402.extensions.builder_code import BuilderCodeClientExtension
from x402.extensions.payment_identifier import append_payment_identifier_to_extensions
from x402.extensions.sign_in_with_x import CreateSIWxClientExtensionOptions, create_siwx_client_extension
from x402.http.clients import wrapHttpxWithPayment
from x402.mechanisms.evm.exact import ExactEvmClientScheme
from x402.mechanisms.evm.signers import EthAccountSigner, EthAccountSignerWithRPC
from x402.mechanisms.evm.upto import UptoEvmClientScheme

ERC6492_END = bytes.fromhex("6492" * 16)


class WalletSigner(EthAccountSigner):
    """A smart wallet that the account owns, which need not exist yet."""

    def __init__(self, account, wallet):
        super().__init__(account)
        self._wallet = wallet

    @property
    def address(self):
        return self._wallet["address"]

    def sign_typed_data(self, domain, types, primary_type, message):
        signature = super().sign_typed_data(domain, types, primary_type, message)
        creation, prefix = self._wallet["creation"], self._wallet["prefix"]
        if creation:
            call = bytes.fromhex(creation["call"].removeprefix("0x"))
            return encode(["address", "bytes", "bytes"], [creation["factory"], call, signature]) + ERC6492_END
        return bytes.fromhex(prefix.removeprefix("0x")) + signature if prefix else signature


def signer_of(order):
    account = Account.from_key(order["key"])
    if order["wallet"]:
        return WalletSigner(account, order["wallet"])
    return EthAccountSignerWithRPC(account, setting("RPC_URL"))


app = FastAPI()


@app.post("/")
async def buy(request: Request):
    order = await request.json()
    signer = signer_of(order)
    client = x402Client()
    client.register("eip155:*", ExactEvmClientScheme(signer))
    client.register("eip155:*", UptoEvmClientScheme(signer))
    # By itself it pays in nothing but each network's default token.
    client.set_spend_controls({"allowed_assets": True})
    client.register_extension(create_siwx_client_extension(CreateSIWxClientExtensionOptions(signers=[signer])))
    client.register_extension(BuilderCodeClientExtension(order["services"]))
    if order["id"]:
        client.on_before_payment_creation(
            lambda context: append_payment_identifier_to_extensions(context.payment_required.extensions, order["id"]) and None
        )
    try:
        async with wrapHttpxWithPayment(client, timeout=60) as http:
            url, json = order["url"], order.get("json")
            return purchase(await (http.get(url) if json is None else http.post(url, json=json)))
    except Exception as error:
        return failure(error)


logging.getLogger("x402").setLevel(logging.ERROR)
serve(app)
