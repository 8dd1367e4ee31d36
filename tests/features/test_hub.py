"""Weights that the hub is asked for and does not give: unknown, private, gated, or a hub that is not there."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kit.core.errors import MissingWeights
from kit.features.weights import find_weights, parse_encoder
from kit.features.weights.hub import NO_WEIGHTS, UNREACHED, _ask_hub

ANSWERS = {  # path -> status, the hub's own header, document
    "/api/models/owner/open": (200, {}, {"id": "owner/open", "gated": False}),
    "/api/models/owner/gated": (200, {}, {"id": "owner/gated", "gated": "manual"}),
    "/api/models/owner/gated/auth-check": (403, {"X-Error-Code": "GatedRepo"}, {}),
    "/api/models/owner/granted": (200, {}, {"id": "owner/granted", "gated": "auto"}),
    "/api/models/owner/granted/auth-check": (200, {}, {}),
    "/api/models/owner/private": (401, {"X-Error-Code": "RepoNotFound"}, {}),
    "/api/models/owner/expired": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, {}),
    "/api/models/owner/forbidden": (403, {}, {}),
    "/api/models/owner/busy": (503, {}, {}),
}


class Hub(BaseHTTPRequestHandler):
    """Answer as the hub does."""

    def do_GET(self) -> None:
        """Answer by the path."""
        status, headers, document = ANSWERS.get(self.path, (404, {"X-Error-Code": "RepoNotFound"}, {}))
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, its address in place of the real one's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        _ask_hub.cache_clear()
        yield address
        _ask_hub.cache_clear()
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown", "the hub has no owner/unknown, or a private one. Mend its name, or log in with: hf auth login; or"),
        ("private", "the hub has no owner/private, or a private one"),
        ("gated", "the hub gates owner/gated. Accept its terms at {hub}/owner/gated and log in with: hf auth login"),
        ("expired", "the hub answers 401 (Unauthorized) for owner/expired. Log in again (hf auth login), or"),
        ("forbidden", "the hub answers 403 (Forbidden) for owner/forbidden. Log in again (hf auth login), or"),
        ("busy", "the hub answers 503 (Service Unavailable) for owner/busy. Try again later, or"),
    ],
)
def test_a_hub_that_refuses_is_not_called_out_of_reach(hub, name, message):
    pytest.importorskip("open_clip")
    with pytest.raises(MissingWeights) as refused:
        find_weights(parse_encoder(f"open_clip:hf-hub:owner/{name}"))
    text = str(refused.value)
    assert f"{NO_WEIGHTS} {message.format(hub=hub)}" in text and "cannot be reached" not in text
    assert f"fetch open_clip_config.json and open_clip_model.safetensors of owner/{name} elsewhere" in text
    assert refused.value.cause == ""  # it keeps no other weights away


@pytest.mark.parametrize("name", ["open", "granted"])
def test_what_the_hub_gives_is_not_missed(hub, name):
    find_weights(parse_encoder(f"open_clip:hf-hub:owner/{name}"))


def test_an_address_that_is_gone_is_told_from_one_out_of_reach(hub):
    message = f"{NO_WEIGHTS} {hub}/gone.pth answers 404 (Not Found). Try again later, or"
    assert _ask_hub(f"{hub}/gone.pth") == message


def test_a_hub_that_is_not_there_is_out_of_reach(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert _ask_hub("owner/open") == _ask_hub("http://127.0.0.1:9/x.pth") == UNREACHED
