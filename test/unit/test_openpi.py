"""A base policy behind a server of the openpi protocol."""

from contextlib import ExitStack
from threading import Event

import numpy as np
import pytest
from served_policies import PICTURE, ROBOT, STATE, Echo, answering, odd_server, port_of, seen, serving, until_gone

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.policies import openpi
from resfit_ros.policies.loading import load_policy
from resfit_ros.policies.protocol import Robot, close_policy
from resfit_ros.policies.reference import OPENPI, PolicyReference
from resfit_ros.policies.serving import EXTENSION, ServedPolicy
from resfit_ros.policies.wire import pack, unpack

CHUNK = {"actions": np.zeros((7, 2), np.float32)}
GOOD = ServedPolicy(Echo(), ROBOT).metadata[EXTENSION]


class NoState:
    """Of a policy that sees pictures alone."""

    size, blocks = 0, ()


def load(address: str, **options):
    values = {"request_timeout_s": 1.0, "connect_timeout_s": 1.0, "first_timeout_s": 1.0} | options
    return load_policy(PolicyReference(OPENPI, address, values, "test.yaml"), ROBOT, Chunking(4))


def recording(messages: list):
    """Greets as openpi's own server does, keeps what it is asked, answers with zeros."""

    def handle(connection):
        connection.send(pack({"action_space": "joints"}))
        for data in connection:
            messages.append(unpack(data))
            connection.send(pack(CHUNK))

    return handle


def test_when_our_server_is_asked_expect_the_chunk_of_its_policy():
    policy = Echo()
    with serving(policy) as address:
        remote = load(address)
        remote.reset(1)
        np.testing.assert_array_equal(remote.infer(seen()), policy.infer(seen()).astype(np.float32))
        close_policy(remote)


def test_when_our_server_is_asked_expect_its_spec():
    with serving() as address:
        remote = load(address)
        spec = remote.spec
        assert (spec.horizon, spec.action_dim, spec.joint_names) == (5, 2, ("a", "b"))
        assert [str(c) for c in spec.cameras] == ["'front' (4 x 6)"]
        close_policy(remote)


def test_when_an_episode_begins_expect_the_policy_on_the_server_reset():
    policy = Echo()
    with serving(policy) as address:
        remote = load(address)
        for episode in (4, 5):
            remote.reset(episode)
            remote.infer(seen(episode_id=episode))
            remote.infer(seen(step=3, episode_id=episode))
        assert policy.resets == [0, 4, 5]
        assert policy.steps[-2:] == [0, 3]
        close_policy(remote)


def test_when_a_foreign_server_is_asked_expect_the_configured_keys():
    messages = []
    with odd_server(recording(messages)) as address:
        remote = load(
            address,
            prompt="lift the box",
            state=["joint_positions"],
            state_key="observation.qpos",
            cameras=["observation.images.cam_high=front"],
            image_layout="chw",
        )
        remote.infer(seen())
        close_policy(remote)
    assert set(messages[1]) == {"observation", "prompt"}
    assert messages[1]["prompt"] == "lift the box"
    np.testing.assert_array_equal(messages[1]["observation"]["qpos"], STATE[:2])
    np.testing.assert_array_equal(messages[1]["observation"]["images"]["cam_high"], PICTURE.transpose(2, 0, 1))


def test_when_nothing_is_configured_expect_state_and_cameras_under_plain_keys():
    messages = []
    with odd_server(recording(messages)) as address:
        close_policy(load(address))
    assert set(messages[0]) == {"observation/state", "front"}


@pytest.mark.parametrize(
    ("answer", "options", "words"),
    [
        ({"chunk": np.zeros((5, 2))}, {}, r"has no 'actions', only \['chunk'\]; set actions_key"),
        ({"actions": np.zeros(5)}, {}, r"shape \(5,\), expected \(horizon, joints\)"),
        ({"actions": "up"}, {}, "holds no numbers"),
        ({"actions": np.zeros((5, 3))}, {}, "gives actions of 3 numbers, but joint_names lists 2"),
        ({"actions": np.zeros((3, 2))}, {}, "longer than the chunks"),
        (CHUNK, {"promt": "x"}, "unknown key 'promt'; did you mean 'prompt'"),
        (CHUNK, {"cameras": ["wrist"]}, "camera 'wrist' is not among the robot's"),
        (CHUNK, {"state": ["pose/box"]}, "state block 'pose/box' is not in the robot's state"),
        (CHUNK, {"api_key_env": "RESFIT_TEST_NO_KEY"}, "RESFIT_TEST_NO_KEY .* is empty; set it"),
    ],
)
def test_when_server_and_robot_do_not_fit_expect_it_said_at_load(answer, options, words):
    with odd_server(answering(answer)) as address, pytest.raises((ConfigError, DataError), match=words):
        load(address, **options)


def test_when_our_server_wants_another_state_expect_both_lengths():
    with serving() as address, pytest.raises(ConfigError, match="a state of 4 numbers, but is sent 2"):
        load(address, state=["joint_positions"])


def test_when_the_address_is_no_address_expect_how_to_write_it():
    with pytest.raises(ConfigError, match="write the server's address as ws://HOST:PORT"):
        load("localhost:8000")


def test_when_the_policy_raises_on_the_server_expect_its_reason_and_the_server_alive():
    policy = Echo()
    with serving(policy) as address:
        remote = load(address)
        policy.error = RuntimeError("CUDA out of memory")
        with pytest.raises(DataError, match="RuntimeError: CUDA out of memory"):
            remote.infer(seen())
        policy.error = None
        remote._connection._not_before_s = 0.0
        assert remote.infer(seen()).shape == (5, 2)
        close_policy(remote)


def test_when_the_server_comes_back_expect_chunks_without_a_restart():
    with serving() as address:
        remote = load(address)
    with pytest.raises(DataError, match="policy server"):
        remote.infer(seen())
    with serving(port=port_of(address)):
        remote._connection._not_before_s = 0.0
        assert remote.infer(seen()).shape == (5, 2)
        close_policy(remote)


def identity(policy=None, **options) -> str:
    with serving(policy) as address:
        remote = load(address, **options)
        close_policy(remote)
        return remote.spec.identity


def test_when_the_same_policy_is_served_elsewhere_expect_the_same_identity():
    assert identity() == identity(request_timeout_s=0.7)


@pytest.mark.parametrize(
    "change", [{"policy": Echo("other")}, {"prompt": "x"}, {"cameras": ["front=front"], "image_layout": "hwc", "prompt": "y"}]
)
def test_when_policy_or_options_change_expect_another_identity(change):
    assert identity(**change) != identity()


def test_when_a_served_policy_looks_back_expect_it_to_see_what_came_before():
    policy = Echo()
    policy.history, policy.recalled = 1, []
    policy.recall = lambda earlier: policy.recalled.append([(o.step, float(o.state[0])) for o in earlier])
    with serving(policy) as address:
        remote = load(address)
        assert remote.history == 1
        remote.recall((seen(step=6),))
        remote.infer(seen(step=7))
        close_policy(remote)
    assert policy.recalled == [[], [(6, pytest.approx(0.1))]]


def foreign_identity(address: str, **options) -> str:
    with odd_server(answering(CHUNK), port_of(address)) as there:
        remote = load(there, **options)
        close_policy(remote)
        return remote.spec.identity


def free_addresses(count: int) -> list[str]:
    with ExitStack() as servers:
        return [servers.enter_context(odd_server(answering(CHUNK))) for _ in range(count)]


def test_when_foreign_servers_say_nothing_expect_their_addresses_to_tell_them_apart():
    one, other = free_addresses(2)
    assert foreign_identity(one) == foreign_identity(one)
    assert foreign_identity(one) != foreign_identity(other)


def test_when_a_foreign_policy_has_a_version_expect_it_to_be_the_identity_wherever_it_runs():
    one, other = free_addresses(2)
    first = foreign_identity(one, version="pi0 lift 1")
    assert foreign_identity(other, version="pi0 lift 1") == first
    assert foreign_identity(one, version="pi0 lift 2") != first


def test_when_our_server_serves_a_policy_without_state_expect_none_sent():
    class Seeing(Echo):
        def infer(self, observation):
            assert observation.state.shape == (0,)
            return np.full((5, 2), observation.images[0].mean(), np.float32)

    with serving(Seeing(), robot=Robot(("a", "b"), NoState(), ROBOT.cameras)) as address:
        remote = load(address)
        assert remote.infer(seen())[0, 0] == pytest.approx(PICTURE.mean())
        assert remote.spec.state_dim == 0
        close_policy(remote)


# -- nothing is left of a policy that cannot be loaded ---------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "options", "words"),
    [
        ({}, {"control_hz": 50.0}, "gives actions at 50 Hz"),  # refused once it is loaded
        ({}, {"actions_key": "chunk"}, "set actions_key"),  # while it is
        ({EXTENSION: GOOD | {"joint_names": None}}, {}, "what the server says of its policy cannot be used"),
        ({EXTENSION: {"name": "x"}}, {}, "KeyError: 'identity'.*same release"),
    ],
)
def test_when_loading_fails_expect_the_connection_closed(metadata, options, words):
    gone = Event()
    with odd_server(until_gone(answering(CHUNK, metadata=metadata), gone)) as address:
        with pytest.raises((ConfigError, DataError), match=words) as refused:
            load(address, **options)
        assert gone.wait(5.0), refused  # `refused` keeps the policy from being collected


def test_when_loading_is_interrupted_expect_the_connection_closed(monkeypatch):
    def interrupt(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(openpi, "identity_of", interrupt)
    gone = Event()
    with odd_server(until_gone(answering(CHUNK), gone)) as address:
        with pytest.raises(KeyboardInterrupt) as stopped:
            load(address)
        assert gone.wait(5.0), stopped
