"""Rows 22 and 23: an actor is taken whole and after a trial, or not at all; no action mixes two of them."""

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from soak import count

from resfit_ros.core.acting import ActingSchedule, base_action, residual_action
from resfit_ros.core.errors import ResfitError
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Action, Float32, Observation
from resfit_ros.learning.actor_slot import ActorSlot, ReceivedActor
from resfit_ros.learning.hashes import sha256
from resfit_ros.learning.networks import ObservationShape, ResidualActor
from resfit_ros.learning.weights import ActorPolicy, load_actor, pack

JOINTS, STATES = ("a", "b"), 3
BASE = np.array([0.1, -0.2], np.float32)
SEEN = Observation(0, 1, 0, np.ones(STATES, np.float32))


def normaliser(joints: tuple[str, ...] = JOINTS, states: int = STATES, **changes) -> Normaliser:
    zeros, ones = [0.0] * len(joints), [1.0] * len(joints)
    values = dict(
        joint_names=joints,
        action_center=zeros,
        action_half_range=ones,
        state_mean=[0.0] * states,
        state_std=[1.0] * states,
    )
    return Normaliser(**(values | changes))


def network(seed: int, scaling: Normaliser) -> ResidualActor:
    """An actor that has left its start at zero."""
    torch.manual_seed(seed)
    shape = ObservationShape(scaling.state_dim, scaling.action_dim)
    actor = ResidualActor(shape, LearningConfig(hidden_width=8))
    torch.nn.init.normal_(actor.head.weight, std=0.5)
    torch.nn.init.normal_(actor.head.bias, std=0.5)
    return actor


def received(version: int, scaling: Normaliser | None = None, **changes) -> ReceivedActor:
    """Version v has weights of its own and a residual scale of its own."""
    scaling = scaling or normaliser()
    data = changes.pop("data", None) or pack(network(version, scaling))
    schedule = dict(residual_scale=0.05 + 0.001 * (version % 500), warm_up=False, version=version)
    values = dict(
        data=data,
        sha256=sha256(data),
        normaliser=json.dumps(scaling.to_dict()),
        normaliser_sha256=scaling.sha256,
        base_policy_sha256="",
        schedule=ActingSchedule(**(schedule | changes.pop("schedule", {}))),
    )
    return ReceivedActor(**(values | changes))


def act(slot: ActorSlot, seen: Observation = SEEN, base: Float32 = BASE) -> Action:
    """As the residual node acts."""
    proposal = slot.actor(seen, base, 0.0)
    return residual_action(base_action(seen, base, 0.0, "test"), proposal, None, slot.schedule, slot.normaliser)


# --- row 22: what is refused -------------------------------------------------------------------


def with_tensor(change: Callable[[torch.Tensor], torch.Tensor], pick: int) -> bytes:
    """Actor weights with one tensor changed, and the right hash and description beside them."""
    actor = network(5, normaliser())
    weights = load(pack(actor))
    name = sorted(weights)[pick % len(weights)]
    weights[name] = change(weights[name]).contiguous()
    return save(weights, metadata={"network": json.dumps(actor.description)})


def with_description(**changes) -> bytes:
    actor = network(5, normaliser())
    return save(load(pack(actor)), metadata={"network": json.dumps({**actor.description, **changes})})


def all_of(value: float, scaling: Normaliser | None = None) -> bytes:
    actor = network(5, scaling or normaliser())
    for parameter in actor.parameters():
        torch.nn.init.constant_(parameter, value)
    return pack(actor)


def holding(value: float, at: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        flat = tensor.clone().flatten()
        flat[at % len(flat)] = value
        return flat.reshape(tensor.shape)

    return change


def bad_weights(rng: np.random.Generator) -> Iterator[tuple[str, ReceivedActor]]:
    """Every way in which weights can be wrong, at random places."""
    pick, at = int(rng.integers(100)), int(rng.integers(1000))
    for name, value in (("NaN", np.nan), ("Inf", np.inf), ("-Inf", -np.inf)):
        yield f"{name} in a tensor", received(2, data=with_tensor(holding(value, at), pick))
    yield "finite, but the output is not", received(2, data=all_of(3e38))
    yield "a row too many", received(2, data=with_tensor(lambda t: torch.cat([t, t[:1]]), pick))
    yield "a tensor of another rank", received(2, data=with_tensor(lambda t: t[None], pick))
    yield "described with another shape", received(
        2, data=with_description(shape=dataclasses.asdict(ObservationShape(STATES + 1, 2)))
    )
    for changes in ({"shape": None}, {"config": [1]}, {"config": None}):
        yield f"described with {changes}", received(2, data=with_description(**changes))
    yield "no description", received(2, data=save(load(pack(network(2, normaliser())))))
    good = bytearray(pack(network(2, normaliser())))
    good[int(rng.integers(len(good)))] ^= 1 << int(rng.integers(8))
    yield "a flipped bit", received(2, data=bytes(good), sha256=sha256(pack(network(2, normaliser()))))
    yield "cut short", received(2, data=bytes(good[: int(rng.integers(1, len(good)))]))
    for name, other in (
        ("another normaliser", normaliser(state_mean=[float(rng.random()), 0.0, 0.0])),
        ("other joints", normaliser(("a", "x"))),
        ("another number of joints", normaliser(("a", "b", "c"))),
        ("another state", normaliser(states=STATES + 1)),
    ):
        yield name, received(2, other)
    for name, value in (("residual_scale", np.nan), ("residual_scale", -0.1), ("exploration_std", np.inf)):
        yield f"{name} {value}", received(2, schedule={name: value})


def test_when_weights_are_wrong_in_any_way_expect_all_refused_and_the_old_ones_acting(measured):
    slot, rng, refused, kinds = ActorSlot(JOINTS), np.random.default_rng(0), 0, set()
    slot.receive(received(1))
    before = act(slot)
    for _ in range(count(50, 5)):
        for kind, wrong in bad_weights(rng):
            with pytest.raises(ResfitError):
                slot.receive(wrong)
                pytest.fail(f"taken: {kind}")
            after = act(slot)
            assert after.actor_version == 1
            np.testing.assert_array_equal(after.command, before.command, err_msg=kind)
            refused, kinds = refused + 1, kinds | {kind}
    measured(22, f"{refused} of {refused} refused ({len(kinds)} ways to be wrong), the old actor unchanged after each")


def test_when_weights_are_taken_expect_one_trial_before(monkeypatch):
    tried: list[bool] = []
    slot = ActorSlot(JOINTS)
    call = ActorPolicy.__call__

    def watched(self, *given):
        tried.append(slot.actor is self)
        return call(self, *given)

    monkeypatch.setattr(ActorPolicy, "__call__", watched)
    slot.receive(received(1))
    assert tried == [False]  # one forward pass, while it was not in the slot yet


# --- row 23: one version per action ------------------------------------------------------------


def expected_of(one: ReceivedActor, seen: Observation = SEEN, base: Float32 = BASE) -> Float32:
    """The command that this version alone gives."""
    scaling = Normaliser.from_dict(json.loads(one.normaliser))
    proposal = load_actor(one.data, one.sha256, scaling)(seen, base, 0.0)
    return residual_action(base_action(seen, base, 0.0, "test"), proposal, None, one.schedule, scaling).command


def test_when_weights_are_swapped_between_actions_expect_each_of_exactly_one_version(measured):
    swaps = count(10_000, 1_000)
    slot, rng = ActorSlot(JOINTS), np.random.default_rng(1)
    kinds = [received(v) for v in range(1, 21)]
    alone = {one.schedule.version: expected_of(one) for one in kinds}
    assert len({command.tobytes() for command in alone.values()}) == len(kinds)
    torn = 0
    for _ in range(swaps):
        slot.receive(kinds[rng.integers(len(kinds))])
        if rng.random() < 0.2:
            with pytest.raises(ResfitError):
                slot.receive(received(99, schedule={"residual_scale": np.nan}, data=kinds[0].data))
        action = act(slot)
        torn += not np.array_equal(action.command, alone[action.actor_version])
    assert torn == 0
    measured(23, f"{swaps} swaps: {torn} torn actions")


def test_when_weights_are_swapped_from_another_thread_expect_each_inference_of_one_actor(measured):
    """The node swaps between callbacks of one thread; the slot holds without that as well."""
    kinds = [received(v) for v in range(1, 21)]
    scaling = normaliser()
    alone = {load_actor(k.data, k.sha256, scaling)(SEEN, BASE, 0.0).tobytes() for k in kinds}
    slot, over = ActorSlot(JOINTS), threading.Event()
    slot.receive(kinds[0])
    swaps, torn, inferences = count(10_000, 1_000), 0, 0

    def swap() -> None:
        for i in range(swaps):
            slot.receive(kinds[i % len(kinds)])
        over.set()

    thread = threading.Thread(target=swap)
    thread.start()
    while not over.is_set():
        torn += slot.actor(SEEN, BASE, 0.0).tobytes() not in alone
        inferences += 1
    thread.join()
    assert torn == 0
    measured(23, f"{swaps} swaps from another thread during {inferences} inferences: {torn} torn")
