"""The connection to a policy server: nothing blocks, no late answer is used, retries are spaced."""

import threading

import pytest
from served_policies import Echo, answering, odd_server, port_of, serving

from resfit_ros.core.errors import ConfigError, DataError, MismatchError
from resfit_ros.policies.connection import Connection
from resfit_ros.policies.wire import pack


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fails(connection: Connection, words: str, timeout_s: float = 0.5) -> None:
    with pytest.raises(DataError, match=words):
        connection.request({}, timeout_s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_when_the_server_answers_expect_its_answer():
    with odd_server(answering({"x": 1}, {"x": 2})) as address:
        connection = Connection(address, 1.0)
        assert [connection.request({}, 1.0)["x"] for _ in range(2)] == [1, 2]
        connection.close()


def test_when_nobody_listens_expect_the_address_and_what_to_do():
    with odd_server(answering({})) as address:
        pass
    fails(Connection(address, 1.0), f"policy server {address}: no connection .*start the server")


def test_when_the_address_is_none_expect_how_to_write_it():
    with pytest.raises(ConfigError, match="write ws://HOST:PORT"):
        Connection("http://here", 1.0).metadata()


def test_when_the_server_accepts_and_never_greets_expect_that_said():
    release = threading.Event()
    with odd_server(lambda connection: release.wait(10)) as address:
        fails(Connection(address, 0.1), "accepted but sent no greeting within 0.1 s")
        release.set()


def test_when_the_server_never_answers_expect_a_timeout_and_its_late_answer_never_used():
    release, asked = threading.Event(), []

    def handle(connection):
        connection.send(pack({}))
        for message in connection:
            asked.append(message)
            if len(asked) == 1:
                release.wait(10)
                connection.send(pack({"x": "late"}))
            else:
                connection.send(pack({"x": "fresh"}))

    clock = Clock()
    with odd_server(handle) as address:
        connection = Connection(address, 1.0, clock_s=clock)
        fails(connection, "no answer within 0.1 s", timeout_s=0.1)
        release.set()
        clock.now += 10
        assert connection.request({}, 1.0)["x"] == "fresh"
        connection.close()


def test_when_the_server_dies_in_the_middle_expect_that_said_and_recovery(clock):
    def die(connection):
        connection.send(pack({}))
        connection.recv()
        connection.socket.close()

    with odd_server(die) as address:
        connection = Connection(address, 1.0, clock_s=clock)
        fails(connection, "the connection broke")
    with odd_server(answering({"x": 1}), port_of(address)):
        clock.now += 10
        assert connection.request({}, 1.0)["x"] == 1
        connection.close()


def test_when_the_server_reports_an_error_expect_the_end_of_it(clock):
    text = "Traceback\n" + "line\n" * 500 + "KeyError: 'gripper'"
    with odd_server(answering(text)) as address:
        fails(Connection(address, 1.0, clock_s=clock), r"it reports an error: \.\.\. .*KeyError: 'gripper'$")


@pytest.mark.parametrize("data", [b"\xc1", pack({"x": 1.5})[:-2], pack({})[:0] + b"\x93\x01\x02\x03"])
def test_when_an_answer_is_damaged_expect_that_said(data):
    with odd_server(answering(data)) as address:
        fails(Connection(address, 1.0), "not a message of the openpi protocol")


def test_when_the_greeting_is_damaged_expect_that_said():
    def greet(connection):
        connection.send(b"\xc1")
        connection.recv()

    with odd_server(greet) as address:
        fails(Connection(address, 1.0), "its greeting cannot be used")


def test_when_attempts_fail_expect_them_spaced_twice_as_far_each_time_up_to_five_seconds(clock):
    with odd_server(answering({})) as address:
        pass
    connection, gaps = Connection(address, 0.5, clock_s=clock), []
    for _ in range(7):
        fails(connection, "no connection")
        began = clock.now
        while True:
            clock.now += 0.05
            try:
                connection.request({}, 0.5)
            except DataError as error:
                if "tried again in" not in str(error):
                    break
        gaps.append(clock.now - began)
        connection._not_before_s = -1.0  # the next loop's first attempt is made at once
        clock.now += 0.0
    assert gaps[0] == pytest.approx(0.25, abs=0.06)
    assert gaps[-1] == pytest.approx(5.0, abs=0.06)
    assert gaps == sorted(gaps)


def test_when_an_answer_comes_expect_the_spacing_forgotten(clock):
    with odd_server(answering("error", {"x": 1}, "error")) as address:
        connection = Connection(address, 1.0, clock_s=clock)
        for _ in range(3):
            fails(connection, "reports an error")
            clock.now += 10
        connection._back_off_s = 3.2
    with odd_server(answering({"x": 1}, "error"), port_of(address)):
        connection.request({}, 1.0)
        fails(connection, "reports an error")
        fails(connection, r"tried again in 0\.2 s")


def test_when_another_policy_answers_there_expect_refusal_until_the_old_one_is_back(clock):
    with serving(Echo("first")) as address:
        connection = Connection(address, 1.0, clock_s=clock)
        connection.metadata()
    with serving(Echo("second"), port_of(address)):
        fails(connection, "broke|no connection")
        clock.now += 10
        with pytest.raises(MismatchError, match="another policy answers there now"):
            connection.request({}, 1.0)
        fails(connection, "another policy answers")
    with serving(Echo("first"), port_of(address)):
        clock.now += 10
        assert connection.metadata()
        connection.close()


@pytest.mark.parametrize("key", ["", "wrong"])
def test_when_the_key_is_wrong_expect_what_to_set(key):
    with serving(api_key="secret") as address:
        fails(Connection(address, 1.0, key), "status 401; set api_key_env")


def test_when_the_key_is_right_expect_to_be_let_in():
    with serving(api_key="secret") as address:
        connection = Connection(address, 1.0, "secret")
        assert "resfit" in connection.metadata()
        connection.close()


def test_when_a_large_question_cannot_be_sent_expect_the_time_limit_kept_and_recovery(clock):
    release, connected = threading.Event(), []

    def handle(connection):
        connection.send(pack({}))
        connected.append(connection)
        if len(connected) == 1:
            with connection.protocol_mutex:  # nothing is read any more, as when the cable was pulled
                release.wait(10)
            return
        for _ in connection:
            connection.send(pack({"x": 1}))

    large = {"pictures": bytes(24 * 2**20)}  # more than the kernel's buffers hold
    with odd_server(handle) as address:
        connection = Connection(address, 1.0, clock_s=clock)
        with pytest.raises(DataError, match="no answer within 0.1 s"):
            connection.request(large, 0.1)
        release.set()
        clock.now += 10
        assert connection.request({}, 1.0)["x"] == 1
        connection.close()
