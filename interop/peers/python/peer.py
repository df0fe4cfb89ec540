"""What every Python peer shares: the contract with the test that starts it (interop/peers/README.md)."""

import base64
import json
import os
import socket
import sys
import threading


def setting(name):
    """The value of a required environment variable; without it the peer can't run, so it ends."""
    value = os.environ.get(name)
    if not value:
        sys.exit(f"{name} is not set: interop/peers/README.md says what this peer needs")
    return value


def show(value):
    """Prints one JSON line, at once."""
    print(json.dumps(value), flush=True)


def end_with_standard_input():
    """Ends this process when the test that holds our standard input is gone."""

    def wait():
        while sys.stdin.buffer.raw.read(4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def place():
    """Takes a place on loopback, for what has to know where it will be: what listens there, and its address."""
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


def serve(app, listener=None):
    """Listens on loopback, says where, and ends when the test that holds our standard input is gone."""
    # Not every peer serves, and loading it takes time.
    import uvicorn

    end_with_standard_input()
    listener = listener or place()[0]
    show({"listening": f"http://127.0.0.1:{listener.getsockname()[1]}"})
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def purchase(response):
    """What came of a purchase; `response` is one of httpx or of requests."""
    settlement = response.headers.get("PAYMENT-RESPONSE") or response.headers.get("X-PAYMENT-RESPONSE")
    required = response.headers.get("PAYMENT-REQUIRED")
    try:
        body = response.json()
    except ValueError:
        body = response.text
    return {
        "status": response.status_code,
        "body": body,
        "settlement": decoded(settlement) if settlement else None,
        "refusal": decoded(required).get("error") if required else None,
        "error": None,
    }


def failure(error):
    """That no answer came, and why."""
    return {"status": None, "body": None, "settlement": None, "refusal": None, "error": f"{type(error).__name__}: {error}"}


def decoded(header):
    return json.loads(base64.b64decode(header))
