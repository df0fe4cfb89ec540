"""The official FastAPI middleware, charging for every good that interop/peers/README.md lists."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from peer import decoded, place, serve, setting
from web3 import Web3
from x402 import x402ResourceServer
from x402.extensions.builder_code import BuilderCodeResourceServerExtension, declare_builder_code_extension
from x402.extensions.eip2612_gas_sponsoring import declare_eip2612_gas_sponsoring_extension
from x402.extensions.erc20_approval_gas_sponsoring import declare_erc20_approval_gas_sponsoring_extension
from x402.extensions.payment_identifier import (
    PAYMENT_IDENTIFIER,
    PaymentIdentifierResourceServerExtension,
    declare_payment_identifier_extension,
    extract_and_validate_payment_identifier,
)
from x402.extensions.sign_in_with_x import (
    CreateSIWxResourceServerExtensionOptions,
    DeclareSIWxOptions,
    InMemorySIWxStorage,
    SIWxVerifyOptions,
    create_siwx_resource_server_extension,
    declare_siwx_extension,
)
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.http.middleware.fastapi import payment_middleware, set_settlement_overrides
from x402.mechanisms.evm.exact import ExactEvmServerScheme
from x402.mechanisms.evm.upto import UptoEvmServerScheme
from x402.schemas import PaymentPayload

NETWORK = setting("NETWORK")
PERMIT2 = {"assetTransferMethod": "permit2"}
# No name and version: it knows no EIP-2612.
IN_PLAIN_TOKEN = {"asset": setting("PLAIN_TOKEN"), "amount": setting("PLAIN_AMOUNT"), "extra": PERMIT2}


def sold(extensions=None, **change):
    offer = {"scheme": "exact", "network": NETWORK, "price": setting("PRICE"), "payTo": setting("PAY_TO"), **change}
    return {"accepts": offer, **({"extensions": extensions} if extensions else {})}


ROUTES = {
    "/report": sold(),
    "/fails": sold(),
    "/permit2": sold(extra=PERMIT2),
    "/sponsored-permit": sold(declare_eip2612_gas_sponsoring_extension(), extra=PERMIT2),
    "/sponsored-approval": sold(declare_erc20_approval_gas_sponsoring_extension(), price=IN_PLAIN_TOKEN),
    "/metered": sold(scheme="upto"),
    "/sponsored-metered": sold(declare_eip2612_gas_sponsoring_extension(), scheme="upto"),
    "/unused": sold(scheme="upto"),
    "/upfront": sold(extra={"paymentFlow": "upfront"}),
    "/upfront-fails": sold(extra={"paymentFlow": "upfront"}),
    "/sign-in": sold(declare_siwx_extension(DeclareSIWxOptions(statement="Sign in to read it again"))),
    "/named": sold({PAYMENT_IDENTIFIER: declare_payment_identifier_extension(True)}),
    "/attributed": sold({"builder-code": declare_builder_code_extension(setting("APP_CODE"), [setting("SERVICE_CODE")])}),
}
CHARGES = {"/metered": "30%", "/sponsored-metered": "30%", "/unused": "0"}

resources = x402ResourceServer(HTTPFacilitatorClient(FacilitatorConfig(url=setting("FACILITATOR_URL"))))
resources.register(NETWORK, ExactEvmServerScheme())
resources.register(NETWORK, UptoEvmServerScheme())
listener, url = place()


class Visits(InMemorySIWxStorage):
    """Remembers who has come, so that nobody comes in twice by one signature."""

    def __init__(self):
        super().__init__()
        self._nonces = set()

    def has_used_nonce(self, nonce):
        return nonce in self._nonces

    def record_nonce(self, nonce):
        self._nonces.add(nonce)

    # The SDK asks for this one, and calls the other.
    has_record_nonce = record_nonce


check = SIWxVerifyOptions(provider=Web3.HTTPProvider(setting("RPC_URL")))
sign_in = CreateSIWxResourceServerExtensionOptions(storage=Visits(), origin=url, verify_options=check)
resources.register_extension(create_siwx_resource_server_extension(sign_in))
resources.register_extension(PaymentIdentifierResourceServerExtension())
resources.register_extension(BuilderCodeResourceServerExtension())
charge = payment_middleware({f"GET {path}": route for path, route in ROUTES.items()}, resources)

app = FastAPI()


last = {"signIn": None}


@app.get("/last-sign-in")
async def last_sign_in():
    return last


@app.middleware("http")
async def charged(request, call_next):
    last["signIn"] = request.headers.get("SIGN-IN-WITH-X", last["signIn"])
    return await charge(request, call_next)


def more(path, request):
    """What a buyer wants to know that came with a request; interop/peers/README.md lists it."""
    if path == "/named":
        payment = PaymentPayload.model_validate(decoded(request.headers["PAYMENT-SIGNATURE"]))
        name, validation = extract_and_validate_payment_identifier(payment)
        return {"id": name if validation.valid else None}
    return {}


def sell(path):
    @app.get(path)
    async def handler(request: Request):
        if path.endswith("fails"):
            return JSONResponse({"error": "this handler always fails"}, status_code=500)
        response = JSONResponse({"report": "a farthing's worth", **more(path, request)})
        if path in CHARGES:
            set_settlement_overrides(response, {"amount": CHARGES[path]})
        return response


for path in ROUTES:
    sell(path)
serve(app, listener)
