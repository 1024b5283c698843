"""A checkpoint of another robot, base policy or configuration is refused, and both sides are named."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import small_config
from learning_builders import CAMERAS, TINY_VISION, segment_with_images
from safetensors.torch import load

from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.core.joints import joint_difference
from resfit_ros.core.normalize import Normaliser
from resfit_ros.learning.checkpoint import (
    MANIFEST,
    STATE,
    load_run_actor,
    restore,
    restore_newest,
    save_checkpoint,
)
from resfit_ros.learning.compatibility import require_same_networks
from resfit_ros.learning.hashes import sha256
from resfit_ros.learning.networks import ObservationShape
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.weights import ACTOR

BASE_POLICY, OTHER_POLICY = "a" * 64, "b" * 64


def normaliser(joints: str = "ab", states: int = 3, **changes) -> Normaliser:
    values = dict(
        joint_names=tuple(joints),
        action_center=[0.1 * i for i in range(len(joints))],
        action_half_range=[1.0] * len(joints),
        state_mean=[0.0] * states,
        state_std=[1.0] * states,
    )
    return Normaliser(**(values | changes))


def make_trainer(
    scaling: Normaliser | None = None,
    base_policy: str = BASE_POLICY,
    cameras: tuple[tuple[int, int], ...] = (),
    **changes,
) -> Trainer:
    scaling = scaling or normaliser()
    trainer = Trainer(small_config(**changes), scaling, "cpu", cameras, base_policy)
    sizes = dict(state_dim=scaling.state_dim, action_dim=scaling.action_dim)
    trainer.add(segment_with_images(np.random.default_rng(0), 20, cameras, **sizes))
    return trainer


def saved(directory: Path, trainer: Trainer | None = None) -> Path:
    trainer = trainer or make_trainer()
    trainer.train_one()
    return save_checkpoint(directory, trainer, {})


def everything(trainer: Trainer, scratch: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """All that a checkpoint would hold of the trainer."""
    path = save_checkpoint(scratch, trainer, {})
    manifest = json.loads((path / MANIFEST).read_text())
    return manifest, load((path / STATE).read_bytes())


def refusal(path: Path, trainer: Trainer, scratch: Path) -> str:
    """Why `restore` refuses; the trainer must be as it was."""
    manifest, tensors = everything(trainer, scratch)
    with pytest.raises(MismatchError) as refused:
        restore(path, trainer)
    after, tensors_after = everything(trainer, scratch)
    assert after == manifest
    assert tensors.keys() == tensors_after.keys()
    assert all(torch.equal(tensors[name], tensors_after[name]) for name in tensors)
    assert str(path) in str(refused.value)
    return str(refused.value)


# --- robot and base policy ---------------------------------------------------------------------


def test_when_joints_are_swapped_expect_the_first_one_named_on_both_sides(tmp_path):
    path = saved(tmp_path / "run", make_trainer(normaliser("abc")))
    message = refusal(path, make_trainer(normaliser("acb")), tmp_path / "scratch")
    assert "joint 1 is 'b' there and 'c' here" in message


def test_when_numbers_of_joints_differ_expect_both_named(tmp_path):
    path = saved(tmp_path / "run", make_trainer(normaliser("ab")))
    message = refusal(path, make_trainer(normaliser("abc")), tmp_path / "scratch")
    assert "2 joints there against 3 here" in message


def test_when_base_policy_is_another_expect_both_hashes(tmp_path):
    path = saved(tmp_path / "run")
    message = refusal(path, make_trainer(base_policy=OTHER_POLICY), tmp_path / "scratch")
    assert "base policy aaaaaaaaaaaa" in message and "bbbbbbbbbbbb" in message


@pytest.mark.parametrize(("there", "here"), [("", BASE_POLICY), (BASE_POLICY, ""), ("", "")])
def test_when_a_base_policys_hash_is_not_known_expect_it_to_fit(tmp_path, there, here):
    path = saved(tmp_path, make_trainer(base_policy=there))
    assert restore(path, make_trainer(base_policy=here))["critic_updates"] == 1


@pytest.mark.parametrize(
    "change", [{"action_half_range": [1.0, 2.0]}, {"state_mean": [0.0, 0.5, 0.0]}, {"state_clip": 7.0}]
)
def test_when_normaliser_is_another_expect_both_hashes(tmp_path, change):
    path, other = saved(tmp_path / "run"), normaliser(**change)
    message = refusal(path, make_trainer(other), tmp_path / "scratch")
    assert f"normaliser {normaliser().sha256[:12]}" in message and other.sha256[:12] in message


def test_when_everything_is_the_same_expect_it_restored(tmp_path):
    trainer = make_trainer()
    restore(saved(tmp_path), trainer)
    assert trainer.agent.critic_updates == 1


@pytest.mark.parametrize(
    ("theirs", "ours", "difference"),
    [
        ("abc", "abc", None),
        ("", "", None),
        ("abc", "bac", "joint 0 is 'a' there and 'b' here"),
        ("abc", "ab", "3 joints there against 2 here"),
        ("", "a", "0 joints there against 1 here"),
    ],
)
def test_when_joints_are_compared_expect_the_first_difference(theirs, ours, difference):
    assert joint_difference(list(theirs), tuple(ours)) == difference


# --- sizes -------------------------------------------------------------------------------------


def shape_refusal(there: ObservationShape, here: ObservationShape) -> str:
    config = small_config()
    manifest = json.loads(
        json.dumps({"shape": dataclasses.asdict(there), "config": dataclasses.asdict(config)})
    )
    with pytest.raises(MismatchError) as refused:
        require_same_networks(manifest, here, config, "there")
    return str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state_dim": 5}, "state numbers: 3, here: 5"),
        ({"action_dim": 7}, "actions: 2, here: 7"),
        ({"cameras": ((48, 64),)}, "(height, width): [(64, 48)], here: [(48, 64)]"),
        ({"cameras": ()}, "(height, width): [(64, 48)], here: []"),
        ({"features": 12}, "image features: 0, here: 12"),
        ({"features_of": "c" * 64}, "features of: nothing, here: cccccccccccc"),
    ],
)
def test_when_observations_have_another_shape_expect_both_sizes(change, words):
    there = ObservationShape(3, 2, ((64, 48),))
    assert words in shape_refusal(there, dataclasses.replace(there, **change))


def test_when_state_has_another_size_expect_the_normaliser_named(tmp_path):
    path = saved(tmp_path / "run")
    message = refusal(path, make_trainer(normaliser(states=5)), tmp_path / "scratch")
    assert normaliser().sha256[:12] in message and normaliser(states=5).sha256[:12] in message


def test_when_cameras_have_another_size_expect_both_sizes(tmp_path):
    path = saved(tmp_path / "run", make_trainer(cameras=CAMERAS, **TINY_VISION))
    other = make_trainer(cameras=((16, 16), (20, 10)), **TINY_VISION)
    assert "[(16, 16), (10, 20)], here: [(16, 16), (20, 10)]" in refusal(path, other, tmp_path / "scratch")


# --- networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_width": 32}, "hidden_width is 16 there and 32 here"),
        ({"hidden_layers": 3}, "hidden_layers is 2 there and 3 here"),
        ({"layer_norm": False}, "layer_norm is True there and False here"),
        ({"rlpd": True}, "rlpd is False there and True here"),
        ({"critic_ensemble": 4}, "critic_ensemble is 3 there and 4 here"),
        ({"critic_kind": "c51"}, "critic_kind is scalar there and c51 here"),
        ({"value_min": -1.0}, "value_min is 0.0 there and -1.0 here"),
        ({"value_max": 2.0}, "value_max is 1.0 there and 2.0 here"),
    ],
)
def test_when_networks_differ_expect_the_setting_named_and_an_untouched_trainer(tmp_path, change, words):
    path = saved(tmp_path / "run")
    assert words in refusal(path, make_trainer(**change), tmp_path / "scratch")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vit_patch": 4}, "vit_patch is 8 there and 4 here"),
        ({"vit_width": 16}, "vit_width is 8 there and 16 here"),
        ({"image_features": 8}, "image_features is 4 there and 8 here"),
    ],
)
def test_when_encoders_differ_expect_the_setting_named(tmp_path, change, words):
    path = saved(tmp_path / "run", make_trainer(cameras=CAMERAS, **TINY_VISION))
    other = make_trainer(cameras=CAMERAS, **(TINY_VISION | change))
    assert words in refusal(path, other, tmp_path / "scratch")


def test_when_kinds_of_distribution_differ_expect_refusal_though_all_shapes_fit(tmp_path):
    path = saved(tmp_path / "run", make_trainer(critic_kind="c51", value_bins=11))
    other = make_trainer(critic_kind="hl_gauss", value_bins=11)
    assert "critic_kind is c51 there and hl_gauss here" in refusal(path, other, tmp_path / "scratch")


def test_when_settings_that_change_no_network_differ_expect_it_restored(tmp_path):
    trainer = make_trainer(critic_lr=1e-3, discount=0.9, n_step=5, batch_size=8, residual_scale=0.4)
    restore(saved(tmp_path), trainer)
    assert trainer.agent.critic_updates == 1


# --- whoever asks for the newest ---------------------------------------------------------------


def test_when_the_newest_belongs_elsewhere_expect_refusal_instead_of_a_new_start(tmp_path):
    path = saved(tmp_path)
    other = make_trainer(hidden_width=32)
    with pytest.raises(MismatchError, match=re.escape(str(path))):
        restore_newest(tmp_path, other)
    assert other.agent.critic_updates == 0


def test_when_the_newest_belongs_elsewhere_expect_the_one_before_not_taken(tmp_path):
    trainer = make_trainer()
    saved(tmp_path, trainer)
    trainer.base_policy_sha256 = OTHER_POLICY
    newest = saved(tmp_path, trainer)
    with pytest.raises(MismatchError, match=newest.name):
        restore_newest(tmp_path, make_trainer())


@pytest.mark.parametrize(
    ("scaling", "base_policy", "words"),
    [
        (normaliser(), OTHER_POLICY, "bbbbbbbbbbbb"),
        (normaliser("ba"), BASE_POLICY, "joint 0 is 'a' there and 'b' here"),
        (normaliser(state_clip=7.0), BASE_POLICY, "normaliser"),
    ],
)
def test_when_actor_belongs_elsewhere_expect_refusal(tmp_path, scaling, base_policy, words):
    saved(tmp_path)
    with pytest.raises(MismatchError, match=words):
        load_run_actor(tmp_path, scaling, base_policy)


# --- older releases ----------------------------------------------------------------------------


def age(path: Path, missing: str) -> None:
    """Makes a checkpoint one of a release whose manifest did not have that key yet."""
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest[missing]
    (path / MANIFEST).write_text(json.dumps(manifest))
    files = {name: (path / name).read_bytes() for name in (STATE, ACTOR, MANIFEST)}
    lines = [f"{sha256(data)}  {name}\n" for name, data in files.items()]
    (path / "SHA256SUMS").write_text("".join(lines))


@pytest.mark.parametrize("missing", ["base_policy_sha256", "shape", "averages"])
def test_when_checkpoint_is_of_an_older_release_expect_refusal_and_an_untouched_trainer(tmp_path, missing):
    path, trainer = saved(tmp_path / "run"), make_trainer()
    age(path, missing)
    before = everything(trainer, tmp_path / "scratch")[1]
    with pytest.raises(DataError, match=path.name):
        restore(path, trainer)
    after = everything(trainer, tmp_path / "scratch")[1]
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("missing", ["base_policy_sha256", "without_base"])
def test_when_actor_is_of_an_older_release_expect_refusal(tmp_path, missing):
    path = saved(tmp_path)
    age(path, missing)
    with pytest.raises(DataError, match=path.name):
        load_run_actor(tmp_path, normaliser(), BASE_POLICY)
