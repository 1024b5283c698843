"""Directories as LeRobot saves them: some that only look so, and small policies made by LeRobot itself."""

import json
from pathlib import Path

import numpy as np
import torch

from resfit_ros.core.observation import StateLayout
from resfit_ros.core.types import Observation
from resfit_ros.policies.lerobot import load
from resfit_ros.policies.protocol import Camera, Robot
from resfit_ros.policies.reference import PolicyReference

JOINTS, SIZE = 3, (32, 40)
LAYOUT = StateLayout(("joint_positions", "joint_velocities"), JOINTS)
CAMERAS = (Camera("wrist", *SIZE), Camera("front", *SIZE))
ROBOT = Robot(("shoulder", "elbow", "hand"), LAYOUT, CAMERAS)
RNG = np.random.default_rng(0)


def feature(kind: str, *shape: int) -> dict:
    return {"type": kind, "shape": list(shape)}


CONFIG = {
    "type": "act",
    "n_obs_steps": 1,
    "input_features": {
        "observation.state": feature("STATE", JOINTS),
        "observation.images.front": feature("VISUAL", 3, *SIZE),
    },
    "output_features": {"action": feature("ACTION", JOINTS)},
}
FILES = ("model.safetensors", "policy_preprocessor.json", "policy_postprocessor.json")


def written(directory: Path, files: tuple[str, ...] = FILES, **changes) -> Path:
    """A directory that looks like LeRobot's; its weights are none."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG | changes))
    for name in files:
        (directory / name).write_text('{"steps": []}')
    return directory


def reference(directory: Path, **options) -> PolicyReference:
    return PolicyReference("lerobot", str(directory), {"state": ["joint_positions"]} | options)


def observation(step: int = 0, episode_id: int = 1) -> Observation:
    images = tuple(RNG.integers(0, 256, (*SIZE, 3), np.uint8) for _ in CAMERAS)
    return Observation(0, episode_id, step, RNG.standard_normal(LAYOUT.size).astype(np.float32), images)


SMALL = {
    "act": {
        "chunk_size": 6,
        "n_action_steps": 4,
        "dim_model": 16,
        "n_heads": 2,
        "dim_feedforward": 16,
        "n_encoder_layers": 1,
        "n_vae_encoder_layers": 1,
        "pretrained_backbone_weights": None,
    },
    "diffusion": {
        "down_dims": (16, 32),
        "diffusion_step_embed_dim": 16,
        "spatial_softmax_num_keypoints": 4,
        "num_inference_steps": 2,
        "crop_shape": None,
    },
}


class Saved:
    """A policy as LeRobot saves it, and what LeRobot itself makes of it."""

    def __init__(self, directory: Path, kind: str) -> None:
        from lerobot.configs.types import FeatureType, PolicyFeature
        from lerobot.policies import factory

        torch.manual_seed(0)
        self.directory, self.kind = directory, kind
        inputs = {
            "observation.state": PolicyFeature(FeatureType.STATE, (JOINTS,)),
            "observation.images.top": PolicyFeature(FeatureType.VISUAL, (3, *SIZE)),
            "observation.images.wrist": PolicyFeature(FeatureType.VISUAL, (3, *SIZE)),
        }
        outputs = {"action": PolicyFeature(FeatureType.ACTION, (JOINTS,))}
        config = factory.make_policy_config(
            kind, device="cpu", input_features=inputs, output_features=outputs, **SMALL[kind]
        )
        self.policy = factory.get_policy_class(kind)(config).eval()
        spread = {"mean": torch.rand(3), "std": torch.rand(3) + 0.5, "min": -torch.rand(3), "max": torch.rand(3)}
        of_pictures = {name: values.reshape(3, 1, 1) for name, values in spread.items()}
        stats = {key: of_pictures if "images" in key else spread for key in (*inputs, *outputs)}
        self.before, self.after = factory.make_pre_post_processors(config, dataset_stats=stats)
        for part in (self.policy, self.before, self.after):
            part.save_pretrained(directory)

    def load(self, **options):
        return load(reference(self.directory, cameras=["top=front"], **options), ROBOT)

    @torch.inference_mode()
    def chunk(self, shown: Observation, seed: int = 0) -> np.ndarray:
        """As LeRobot computes it: its own conversion, processors and select_action, which ends the chunk before."""
        from lerobot.policies.utils import prepare_observation_for_inference

        values = {
            "observation.state": shown.state[:JOINTS].copy(),
            "observation.images.top": shown.images[1].copy(),
            "observation.images.wrist": shown.images[0].copy(),
        }
        batch = self.before(prepare_observation_for_inference(values, torch.device("cpu"), "", ""))
        words = np.random.SeedSequence((seed, shown.episode_id, shown.step)).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]) & (1 << 63) - 1)
        if self.kind == "act":
            rows = list(self.policy.predict_action_chunk(batch)[0])
        else:
            self.policy._queues["action"].clear()
            rows = [self.policy.select_action(batch)[0], *(row[0] for row in self.policy._queues["action"])]
        return torch.stack([self.after(row[None])[0] for row in rows]).numpy()
