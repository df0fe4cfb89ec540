"""The official Python facilitator for `exact` and `upto` on EVM, version 2, behind the specification's HTTP API. It sponsors
approvals of Permit2 both ways, creates smart wallets by the factory that it is told, and writes the code that it is told behind
its transactions, if any."""

import logging
import os

from fastapi import FastAPI, Request
from peer import serve, setting
from web3 import Web3
from x402 import x402Facilitator
from x402.extensions.builder_code import BuilderCodeFacilitatorExtension
from x402.extensions.eip2612_gas_sponsoring import EIP2612_GAS_SPONSORING
from x402.extensions.erc20_approval_gas_sponsoring import Erc20ApprovalFacilitatorExtension
from x402.mechanisms.evm.exact import register_exact_evm_facilitator
from x402.mechanisms.evm.signers import FacilitatorWeb3Signer
from x402.mechanisms.evm.upto import UptoEvmFacilitatorScheme
from x402.schemas import PaymentPayload, PaymentRequirements

RPC_URL = setting("RPC_URL")
NETWORK = f"eip155:{setting('CHAIN_ID')}"
FACTORY = os.environ.get("WALLET_FACTORY")


class Sponsor(FacilitatorWeb3Signer):
    """Sends what belongs together, one after the other: a payer's own transaction as it is, and calls of ours."""

    def __init__(self, *settings):
        super().__init__(*settings)
        self._node = Web3(Web3.HTTPProvider(RPC_URL))

    def send_transactions(self, transactions):
        return [self._send(transaction) for transaction in transactions]

    def _send(self, transaction):
        if isinstance(transaction, str):
            name = self._node.eth.send_raw_transaction(transaction).to_0x_hex()
        else:
            call = transaction
            name = self.write_contract(call.address, call.abi, call.function, *call.args, data_suffix=call.data_suffix)
        if self.wait_for_transaction_receipt(name).status != 1:
            raise RuntimeError(f"{name} was reverted")
        return name


signer = Sponsor(setting("PRIVATE_KEY"), RPC_URL)
facilitator = x402Facilitator()
register_exact_evm_facilitator(facilitator, signer, NETWORK, eip6492_allowed_factories=[FACTORY] if FACTORY else None)
facilitator.register([NETWORK], UptoEvmFacilitatorScheme(signer))
facilitator.register_extension(EIP2612_GAS_SPONSORING)
facilitator.register_extension(Erc20ApprovalFacilitatorExtension(signer))
if os.environ.get("WALLET_CODE"):
    facilitator.register_extension(BuilderCodeFacilitatorExtension(builder_code=os.environ["WALLET_CODE"]))

app = FastAPI()


def wire(answer):
    return answer.model_dump(by_alias=True, exclude_none=True)


async def payment_of(request):
    body = await request.json()
    return PaymentPayload.model_validate(body["paymentPayload"]), PaymentRequirements.model_validate(body["paymentRequirements"])


@app.post("/verify")
async def verify(request: Request):
    return wire(await facilitator.verify(*await payment_of(request)))


@app.post("/settle")
async def settle(request: Request):
    return wire(await facilitator.settle(*await payment_of(request)))


@app.get("/supported")
async def supported():
    return wire(facilitator.get_supported())


logging.getLogger("x402").setLevel(logging.ERROR)
serve(app)
