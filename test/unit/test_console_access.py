"""Who the web console listens to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.console.access import SHORTEST_TOKEN, Access, choose_token, is_local
from resfit_ros.core.errors import ConfigError

LOCAL = Access("127.0.0.1", names=("robot", "robot.local"))
OPEN = Access("0.0.0.0", token="a-token-of-some-length", names=("robot", "robot.local"))


def headers(host, origin=None):
    return {"Host": host} | ({"Origin": origin} if origin else {})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "::1"])
def test_when_only_this_computer_can_connect_expect_no_token(host):
    assert is_local(host)
    assert choose_token(host, "") == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "robot.local"])
def test_when_the_network_can_connect_expect_a_long_token_each_time_another(host):
    tokens = {choose_token(host, "") for _ in range(5)}
    assert len(tokens) == 5
    assert min(map(len, tokens)) >= 24


def test_when_a_token_is_short_expect_a_refusal_with_both_lengths():
    with pytest.raises(ConfigError, match=f"5 characters; give at least {SHORTEST_TOKEN}"):
        choose_token("0.0.0.0", "abcde")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8700", "localhost:8700", "[::1]:8700", "robot:8700", "ROBOT.local"]
)
def test_when_a_page_is_asked_by_its_own_names_expect_no_refusal(host):
    assert LOCAL.refuses(headers(host), needs_origin=False) == ""


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8700", "", "127.0.0.1.evil.example", "192.168.1.5:8700"]
)
def test_when_a_foreign_name_was_rebound_to_this_computer_expect_a_refusal(host):
    assert "--allow-host" in LOCAL.refuses(headers(host), needs_origin=False)


def test_when_the_network_can_connect_expect_any_address_but_no_foreign_name():
    assert OPEN.refuses(headers("192.168.1.5:8700"), needs_origin=False) == ""
    assert OPEN.refuses(headers("[fd00::1]:8700"), needs_origin=False) == ""
    assert OPEN.refuses(headers("evil.example:8700"), needs_origin=False) != ""


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1:9999",
        "http://localhost:8700",
        "null",
        "file://",
        "ftp://127.0.0.1:8700",
        "http://127.0.0.1:8700.evil.example",
        "http://127.0.0.1:8700@evil.example",
        "http://[",
    ],
)
def test_when_another_page_connects_expect_a_refusal(origin):
    assert "other sites" in LOCAL.refuses(headers("127.0.0.1:8700", origin), needs_origin=True)


def test_when_the_own_page_connects_expect_no_refusal():
    assert LOCAL.refuses(headers("127.0.0.1:8700", "http://127.0.0.1:8700"), needs_origin=True) == ""


def test_when_there_is_no_origin_expect_pages_but_no_presses():
    assert LOCAL.refuses(headers("127.0.0.1:8700"), needs_origin=False) == ""
    assert "Origin" in LOCAL.refuses(headers("127.0.0.1:8700"), needs_origin=True)


@given(st.text())
def test_when_a_token_is_guessed_expect_only_the_right_one(guess):
    assert OPEN.has_token(guess) == (guess == OPEN.token)


@pytest.mark.parametrize(
    "given_token", [None, 3, [], b"a-token-of-some-length", "", "a-token-of-some-lengt", "\ud800"]
)
def test_when_a_token_is_no_text_or_another_expect_a_refusal(given_token):
    assert not OPEN.has_token(given_token)


def test_when_a_request_carries_the_token_expect_it_to_count_as_bearer_alone():
    assert OPEN.has_bearer({"Authorization": f"Bearer {OPEN.token}"})
    assert not OPEN.has_bearer({"Authorization": OPEN.token})
    assert not OPEN.has_bearer({})
    assert LOCAL.has_bearer({})
