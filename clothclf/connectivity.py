"""Whether a hub on the network can be asked: a first question that never takes long."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request

from clothclf.errors import first_line

HUB_TIMEOUT_S = 5.0


def hub_address() -> str:
    """The Hugging Face hub's address, or that of the mirror which HF_ENDPOINT names."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hub_error(called: str) -> str | None:
    """Why the Hugging Face hub cannot be used, or None; `called` is its name in the sentence."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return f"{called} is switched off (HF_HUB_OFFLINE)"
    address = hub_address()
    if not address.startswith(("http://", "https://")):
        return f"{called}'s address {address} (HF_ENDPOINT) is not one of http or https"
    return connection_error(address, called)


def connection_error(address: str, called: str) -> str | None:
    """Why a web server gives no answer, or None; it is given 5 seconds."""
    answer: list[str | None] = []

    def ask() -> None:
        request = urllib.request.Request(address, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S):
                answer.append(None)
        except urllib.error.HTTPError:
            answer.append(None)  # it answers, if only with a refusal of this page
        except Exception as error:  # what answers may be no web server at all
            answer.append(f"{called} {address} cannot be reached: {first_line(error)}")

    # Looking up a host's name can block for longer than any socket timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    if not answer:
        return f"{called} {address} gave no answer within {HUB_TIMEOUT_S:g} seconds"
    return answer[0]
