"""The policy server: openpi's own client gets its chunks, and nothing a client sends ends it."""

import urllib.error
import urllib.request

import numpy as np
import pytest
from served_policies import PICTURE, STATE, Echo, port_of, seen, serving
from websockets.sync.client import connect

from resfit_ros.core.errors import ConfigError
from resfit_ros.policies.serving import require_safe
from resfit_ros.policies.wire import pack, unpack

GOOD = {"observation/state": STATE, "front": PICTURE}


def test_when_openpi_client_asks_expect_the_policys_chunk():
    client = pytest.importorskip("openpi_client.websocket_client_policy", reason="openpi-client is not installed")
    with serving(Echo()) as address:
        policy = client.WebsocketClientPolicy("127.0.0.1", port_of(address))
        answer = policy.infer(GOOD)
        assert policy.get_server_metadata()["resfit"]["horizon"] == 5
        policy._ws.close()
    np.testing.assert_array_equal(answer["actions"], Echo().infer(seen()).astype(np.float32))
    assert answer["server_timing"]["infer_ms"] >= 0.0


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\xc1", "not a message of the openpi protocol"),
        ("words", "not a message of the openpi protocol"),
        (pack({}), r"'observation/state' has shape \(0,\), expected \(4,\)"),
        (pack(GOOD | {"observation/state": STATE[:3]}), r"shape \(3,\), expected \(4,\)"),
        (pack({"observation/state": STATE}), "picture 'front' is nothing"),
        (pack(GOOD | {"front": PICTURE[:2]}), r"picture 'front' is uint8 \(2, 6, 3\)"),
        (pack(GOOD | {"front": PICTURE.astype(np.float32)}), "picture 'front' is float32"),
    ],
)
def test_when_a_message_cannot_be_used_expect_the_reason_as_text_and_the_server_alive(message, words):
    import re

    with serving() as address:
        with connect(address) as client:
            client.recv()
            client.send(message)
            answer = client.recv()
        assert isinstance(answer, str) and re.search(words, answer)
        with connect(address) as client:
            client.recv()
            client.send(pack(GOOD))
            assert unpack(client.recv())["actions"].shape == (5, 2)


def test_when_two_clients_ask_expect_both_answered():
    with serving() as address, connect(address) as one, connect(address) as other:
        for client in (one, other, other, one):
            if client in (one, other):
                client.send(pack(GOOD))
        kinds = [set(unpack(c.recv())) for c in (one, one, one, other, other, other)]
    assert kinds.count({"resfit"}) == 2
    assert kinds.count({"actions", "server_timing"}) == 4


def test_when_asked_for_its_health_expect_200():
    with serving() as address:
        with urllib.request.urlopen(address.replace("ws", "http", 1) + "/healthz", timeout=5) as answer:
            assert (answer.status, answer.read()) == (200, b"OK\n")


def test_when_a_key_is_wanted_expect_health_free_and_the_rest_refused():
    with serving(api_key="secret") as address:
        url = address.replace("ws", "http", 1)
        with urllib.request.urlopen(url + "/healthz", timeout=5) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(url + "/", timeout=5)


def test_when_the_port_is_taken_expect_what_to_do():
    with serving() as address, pytest.raises(ConfigError, match="choose another --port"):
        with serving(port=port_of(address)):
            pass


@pytest.mark.parametrize(
    ("host", "key", "no_auth", "safe"),
    [
        ("127.0.0.1", "", False, True),
        ("localhost", "", False, True),
        ("0.0.0.0", "", False, False),
        ("0.0.0.0", "secret", False, True),
        ("0.0.0.0", "", True, True),
    ],
)
def test_when_listening_on_the_network_expect_a_key_or_an_explicit_no(host, key, no_auth, safe):
    if safe:
        require_safe(host, key, no_auth)
    else:
        with pytest.raises(ConfigError, match="open to the network"):
            require_safe(host, key, no_auth)


def test_when_clients_follow_each_other_expect_the_policy_reset_for_each():
    policy = Echo()
    with serving(policy) as address:
        for _ in range(10):
            with connect(address) as client:
                client.recv()
                client.send(pack(GOOD))
                client.recv()
    assert len(policy.resets) == 10
