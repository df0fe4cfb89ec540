"""The official FastAPI middleware, charging for every good that interop/peers/README.md lists."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from peer import serve, setting
from x402 import x402ResourceServer
from x402.extensions.eip2612_gas_sponsoring import declare_eip2612_gas_sponsoring_extension
from x402.extensions.erc20_approval_gas_sponsoring import declare_erc20_approval_gas_sponsoring_extension
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.http.middleware.fastapi import payment_middleware, set_settlement_overrides
from x402.mechanisms.evm.exact import ExactEvmServerScheme
from x402.mechanisms.evm.upto import UptoEvmServerScheme

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
}
CHARGES = {"/metered": "30%", "/sponsored-metered": "30%", "/unused": "0"}

resources = x402ResourceServer(HTTPFacilitatorClient(FacilitatorConfig(url=setting("FACILITATOR_URL"))))
resources.register(NETWORK, ExactEvmServerScheme())
resources.register(NETWORK, UptoEvmServerScheme())
charge = payment_middleware({f"GET {path}": route for path, route in ROUTES.items()}, resources)

app = FastAPI()


@app.middleware("http")
async def charged(request, call_next):
    return await charge(request, call_next)


def sell(path):
    @app.get(path)
    async def handler():
        if path.endswith("fails"):
            return JSONResponse({"error": "this handler always fails"}, status_code=500)
        response = JSONResponse({"report": "a farthing's worth"})
        if path in CHARGES:
            set_settlement_overrides(response, {"amount": CHARGES[path]})
        return response


for path in ROUTES:
    sell(path)
serve(app)
