"""Which actor acts, and on top of which base policy."""

import dataclasses
import json

import numpy as np
import pytest
from test_compatibility import BASE_POLICY, OTHER_POLICY, make_trainer, normaliser, saved

from resfit_ros.core.acting import ActingSchedule
from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.core.types import Observation
from resfit_ros.learning.actor_slot import ActorSlot, ReceivedActor
from resfit_ros.learning.hashes import sha256
from resfit_ros.learning.weights import pack


def received(scaling=None, base_policy: str = BASE_POLICY, version: int = 1, **changes) -> ReceivedActor:
    scaling = scaling or normaliser()
    data = pack(make_trainer(scaling).agent.actor)
    values = dict(
        data=data,
        sha256=sha256(data),
        normaliser=json.dumps(scaling.to_dict()),
        normaliser_sha256=scaling.sha256,
        base_policy_sha256=base_policy,
        schedule=ActingSchedule(residual_scale=0.2, warm_up=False, version=version),
    )
    return ReceivedActor(**(values | changes))


@pytest.fixture
def slot() -> ActorSlot:
    return ActorSlot(("a", "b"))


def test_when_nothing_has_come_expect_no_usable_actor(slot):
    assert not slot.usable


def test_when_an_actor_is_received_expect_it_usable_with_its_scaling_and_schedule(slot):
    slot.receive(received(version=7))
    assert slot.usable
    assert (slot.normaliser.sha256, slot.schedule.version) == (normaliser().sha256, 7)
    action = slot.actor(Observation(0, 1, 0, np.zeros(3, np.float32)), np.zeros(2, np.float32), 0.0)
    assert action.shape == (2,)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"sha256": "0" * 64}, DataError, "the hash does not match"),
        ({"normaliser": "{"}, DataError, "normaliser cannot be read"),
        ({"normaliser_sha256": "0" * 64}, DataError, "hash of their normaliser"),
        ({"scaling": normaliser("xy")}, MismatchError, "joint 0 is 'x' there and 'a' here"),
        ({"scaling": normaliser("abc")}, MismatchError, "3 joints there against 2 here"),
    ],
)
def test_when_weights_do_not_fit_expect_refusal_and_the_old_actor_kept(slot, changes, error, words):
    slot.receive(received(version=1))
    old = slot.actor
    fresh = ActorSlot(("a", "b"))
    with pytest.raises(error, match=words):
        fresh.receive(received(**changes))
    assert not fresh.usable
    with pytest.raises((DataError, MismatchError)):
        slot.receive(received(version=2, **(changes | {"normaliser_sha256": "0" * 64})))
    assert (slot.actor, slot.schedule.version) == (old, 1)


def test_when_weights_come_with_another_scaling_than_before_expect_refusal(slot):
    slot.receive(received())
    with pytest.raises(MismatchError, match=normaliser().sha256[:12]):
        slot.receive(received(normaliser(state_mean=[1.0, 0.0, 0.0])))


def test_when_weights_were_learnt_on_another_base_policy_expect_both_named(slot):
    slot.see_base_policy(OTHER_POLICY)
    with pytest.raises(MismatchError, match=f"{BASE_POLICY[:12]}.*{OTHER_POLICY[:12]}"):
        slot.receive(received())
    assert not slot.usable


def test_when_the_base_policy_changes_later_expect_the_actor_unused_and_both_named(slot):
    slot.receive(received())
    slot.see_base_policy(OTHER_POLICY)
    assert not slot.usable
    assert BASE_POLICY[:12] in slot.problem and OTHER_POLICY[:12] in slot.problem
    slot.see_base_policy(BASE_POLICY)
    assert slot.usable


@pytest.mark.parametrize("known", ["", BASE_POLICY])
def test_when_one_side_does_not_say_expect_the_actor_used(slot, known):
    slot.see_base_policy("" if known else OTHER_POLICY)
    slot.receive(received(base_policy=known))
    assert slot.usable


def test_when_a_checkpoint_is_loaded_expect_its_scaling_and_base_policy(slot, tmp_path):
    path = saved(tmp_path)
    assert slot.load(tmp_path) == (path, ())
    slot.see_base_policy(OTHER_POLICY)
    assert not slot.usable


def test_when_a_checkpoint_is_of_another_robot_expect_refusal(tmp_path):
    saved(tmp_path)
    with pytest.raises(MismatchError, match="joint 1 is 'b' there and 'c' here"):
        ActorSlot(("a", "c")).load(tmp_path)


def test_when_a_slot_takes_an_actor_expect_it_frozen():
    assert dataclasses.is_dataclass(ReceivedActor)
    with pytest.raises(dataclasses.FrozenInstanceError):
        received().sha256 = "other"
