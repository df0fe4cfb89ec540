"""What every Python peer shares: the contract with the test that starts it (interop/peers/README.md)."""

import base64
import json
import os
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


def show_purchase(response):
    """Prints what came of a purchase; `response` is one of httpx or of requests."""
    header = response.headers.get("PAYMENT-RESPONSE") or response.headers.get("X-PAYMENT-RESPONSE")
    try:
        body = response.json()
    except ValueError:
        body = response.text
    show(
        {
            "status": response.status_code,
            "body": body,
            "settlement": json.loads(base64.b64decode(header)) if header else None,
            "error": None,
        }
    )


def show_failure(error):
    """Prints that no answer came, and why."""
    show({"status": None, "body": None, "settlement": None, "error": f"{type(error).__name__}: {error}"})
