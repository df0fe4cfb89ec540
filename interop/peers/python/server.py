"""The official FastAPI middleware, charging for two routes."""

import os
import socket

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from peer import end_with_standard_input, setting, show
from x402 import x402ResourceServer
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.http.middleware.fastapi import payment_middleware
from x402.mechanisms.evm.exact import register_exact_evm_server

network = setting("NETWORK")
offer = {"scheme": "exact", "network": network, "price": setting("PRICE"), "payTo": setting("PAY_TO")}
resources = x402ResourceServer(HTTPFacilitatorClient(FacilitatorConfig(url=setting("FACILITATOR_URL"))))
register_exact_evm_server(resources, network)
charge = payment_middleware({"GET /report": {"accepts": offer}, "GET /fails": {"accepts": offer}}, resources)

app = FastAPI()


@app.middleware("http")
async def charged(request, call_next):
    return await charge(request, call_next)


@app.get("/report")
async def report():
    return {"report": "a farthing's worth"}


@app.get("/fails")
async def fails():
    return JSONResponse({"error": "this handler always fails"}, status_code=500)


end_with_standard_input()
listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))))
show({"listening": f"http://127.0.0.1:{listener.getsockname()[1]}"})
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
