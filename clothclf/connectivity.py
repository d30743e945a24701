"""Probe whether a server, such as the Hugging Face hub, can be reached, within a short timeout."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request

from clothclf.errors import first_line

HUB_TIMEOUT_S = 5.0


def hub_address() -> str:
    """Return the URL of the Hugging Face hub, or of the mirror named by HF_ENDPOINT."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hub_error(called: str) -> str | None:
    """Return why the Hugging Face hub cannot be used, or None.

    `called` is the hub's name in the message.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return f"{called} is disabled by HF_HUB_OFFLINE"
    address = hub_address()
    if not address.startswith(("http://", "https://")):
        return f"{called}'s address {address} (HF_ENDPOINT) is not an http or https URL"
    return connection_error(address, called)


def connection_error(address: str, called: str) -> str | None:
    """Return why a web server does not respond within HUB_TIMEOUT_S (5 s), or None."""
    outcome: list[str | None] = []

    def probe() -> None:
        request = urllib.request.Request(address, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S):
                outcome.append(None)
        except urllib.error.HTTPError:
            outcome.append(None)  # an HTTP error status still shows that the server is up
        except Exception as error:  # the peer may not even speak HTTP
            outcome.append(f"{called} {address} cannot be reached: {first_line(error)}")

    # DNS resolution can block for longer than any socket timeout.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    if not outcome:
        return f"{called} {address} did not respond within {HUB_TIMEOUT_S:g} seconds"
    return outcome[0]
