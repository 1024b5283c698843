"""Policies saved by LeRobot, run in this process: a directory as its training writes it (pretrained_model)."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np

from resfit_ros.core.errors import ConfigError, DataError, nearest
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.schema import param, to_mapping
from resfit_ros.core.types import Float32, Observation
from resfit_ros.policies.file_policy import reason
from resfit_ros.policies.identity import identity_of, shown_name
from resfit_ros.policies.inputs import InputOptions, PolicyInputs
from resfit_ros.policies.lerobot_saved import (
    ACTION,
    CONFIG,
    IMAGES,
    POSTPROCESSOR,
    PREPROCESSOR,
    STATE,
    WEIGHTS,
    SavedPolicy,
    processor_steps,
    read_saved,
)
from resfit_ros.policies.protocol import PolicySpec, Robot
from resfit_ros.policies.reference import PolicyReference

T = TypeVar("T")
# Their predict_action_chunk reads queues of observations that only their select_action fills.
WITH_QUEUES = ("diffusion", "vqbet")
SEED_MASK = (1 << 63) - 1  # torch takes signed seeds


@dataclass(frozen=True, kw_only=True)
class LerobotOptions(InputOptions):
    """Options of a policy saved by LeRobot."""

    task: str = param("", doc="what the robot is to do, in words, for policies that read it")
    device: str = param("cpu", choices=("cpu", "cuda"), doc="what the policy runs on")
    seed: int = param(0, ge=0, doc="seed of the noise that diffusion and flow matching start from")


@dataclass(frozen=True)
class WholeState:
    """Layout of a state of which nothing but the size is known."""

    size: int

    @property
    def blocks(self) -> tuple[str, ...]:
        """One block, or none where there is no state."""
        return (STATE,) if self.size else ()

    def slice_of(self, block: str) -> slice:
        """Where `block` lies in the state vector."""
        if block not in self.blocks:
            raise ConfigError(f"state: block '{block}' is not known of this policy; leave 'state' out")
        return slice(0, self.size)


def described_robot(reference: PolicyReference) -> Robot:
    """The robot that a saved policy was trained for, as far as its configuration tells: sizes and cameras.

    For servers that know no robot; the names of its joints are invented.
    """
    saved = read_saved(reference.path)
    names = tuple(f"j{i}" for i in range(saved.action_dim))
    layout = cast(StateLayout, WholeState(saved.state_dim))
    hz = reference.options_as(LerobotOptions).control_hz
    return Robot(names, layout, saved.cameras, hz) if hz else Robot(names, layout, saved.cameras)


def load(reference: PolicyReference, robot: Robot) -> "LerobotPolicy":
    """The policy of a directory.

    Raises DataError naming the file that cannot be used, ConfigError where the policy does not fit the robot.
    """
    options, saved = reference.options_as(LerobotOptions), read_saved(reference.path)
    inputs = _inputs(options, saved, robot, f"base policy '{reference}'")
    about = {
        "kind": reference.kind,
        "options": {k: v for k, v in to_mapping(options).items() if k != "device"},
        "state": list(options.state or robot.layout.blocks),
        "cameras": [camera.name for camera in inputs.cameras(robot)],
    }
    identity = identity_of(saved.files, about)
    spec = PolicySpec(
        name=shown_name(reference.kind, identity),
        action_dim=saved.action_dim,
        horizon=0,  # not known before it has run
        identity=identity,
        state_dim=saved.state_dim,
        cameras=inputs.cameras(robot),
        control_hz=options.control_hz,
        config={"kind": reference.kind, "location": str(reference.path.resolve()), "options": to_mapping(options)},
    )
    return LerobotPolicy(spec, saved, options, inputs)


def _inputs(options: LerobotOptions, saved: SavedPolicy, robot: Robot, where: str) -> PolicyInputs:
    """Raises ConfigError naming the feature, what it takes, what the robot offers and what to set."""
    if options.state and not saved.state_dim:
        raise ConfigError(f"{where} has no feature '{STATE}': it does not see the state; remove 'state'")
    inputs = PolicyInputs(_chosen(options, saved, robot, where), robot, where)
    if saved.action_dim != robot.action_dim:
        raise ConfigError(
            f"{where}: feature '{ACTION}' has {saved.action_dim} numbers, but joint_names lists {robot.action_dim} "
            "joints; set joint_names to the joints it was trained on, in its order"
        )
    if saved.state_dim and saved.state_dim != inputs.state_dim:
        blocks = options.state or robot.layout.blocks
        sizes = [robot.layout.slice_of(b) for b in blocks]
        listed = ", ".join(f"{b} {s.stop - s.start}" for b, s in zip(blocks, sizes, strict=True)) or "nothing"
        raise ConfigError(
            f"{where}: feature '{STATE}' has {saved.state_dim} numbers, but is given {inputs.state_dim} ({listed}); "
            "choose the blocks it was trained on with 'state' in a description"
        )
    for camera, key in zip(saved.cameras, saved.keys, strict=True):
        height, width = inputs.size(camera.name, robot)
        if (height, width) != (camera.height, camera.width):
            raise ConfigError(
                f"{where}: feature '{key}' is a picture of {camera.height} x {camera.width} (height x width), but is "
                f"given {height} x {width}; set image_height to {camera.height} and image_width to {camera.width}"
            )
    return inputs


def _chosen(options: LerobotOptions, saved: SavedPolicy, robot: Robot, where: str) -> LerobotOptions:
    """The options with the policy's cameras in the policy's order; the robot may have more."""
    if options.without_cameras and saved.cameras:
        raise ConfigError(f"{where} sees {', '.join(saved.keys)}; remove without_cameras")
    given = {entry.partition("=")[0].strip(): entry for entry in options.cameras}
    names, ours = [c.name for c in saved.cameras], [c.name for c in robot.cameras]
    for theirs in given:
        if theirs not in names:
            hint = nearest(theirs, names) if names else "it sees none; remove cameras"
            raise ConfigError(f"{where} has no camera '{theirs}' (option cameras); {hint}")
    for name, key in zip(names, saved.keys, strict=True):
        if name not in given and name not in ours:
            raise ConfigError(
                f"{where}: feature '{key}' needs a camera '{name}', but camera_names offers "
                f"{', '.join(ours) or 'none'}; name the one to use with cameras: [{name}=OURS] in a description"
            )
    return replace(options, cameras=tuple(given.get(n, n) for n in names), without_cameras=not names)


class LerobotPolicy:
    """A policy of LeRobot behind the base-policy protocol, with the processors saved beside it."""

    def __init__(self, spec: PolicySpec, saved: SavedPolicy, options: LerobotOptions, inputs: PolicyInputs) -> None:
        """Loads it and runs it on zeros. Raises DataError naming the file that cannot be used."""
        self._saved, self._options, self._inputs = saved, options, inputs
        self._policy, self._before, self._after = _open(saved, options.device)
        self.history = saved.observations - 1 if saved.kind in WITH_QUEUES else 0
        self._earlier: Sequence[Observation] = ()
        try:
            horizon, action_dim = self._chunk(*self._zeros(), 0, 0).shape
        except Exception as error:  # a policy from elsewhere may raise anything
            raise DataError(f"{saved.directory}: cannot be run: {type(error).__name__}: {reason(error)}") from error
        self.spec = replace(spec, horizon=horizon, action_dim=action_dim)
        self.reset(0)

    def reset(self, episode_id: int) -> None:
        """Forgets the observations of the last episode."""
        self._earlier = ()
        self._policy.reset()

    def recall(self, earlier: Sequence[Observation]) -> None:
        """The observations right before the one that is asked about next, oldest first."""
        self._earlier = earlier

    def infer(self, observation: Observation) -> Float32:
        """Chunk of joint targets, float32 (H, A). Raises DataError with what the policy complains about."""
        earlier, self._earlier = self._earlier, ()
        state, pictures = self._seen(observation)
        try:
            return self._chunk(state, pictures, observation.episode_id, observation.step, earlier)
        except Exception as error:  # a policy from elsewhere may raise anything
            raise DataError(f"base policy '{self.spec.name}' failed: {reason(error)}") from error

    def _seen(self, observation: Observation) -> tuple[Float32 | None, list[np.ndarray]]:
        """(state, pictures in the policy's order). Raises DataError on a picture of another size."""
        state = self._inputs.state(observation) if self._saved.state_dim else None
        pictures = list(self._inputs.images(observation).values())
        for picture, key, camera in zip(pictures, self._saved.keys, self._saved.cameras, strict=True):
            if picture.shape != (camera.height, camera.width, 3):
                wanted = (camera.height, camera.width, 3)
                raise DataError(f"base policy '{self.spec.name}': '{key}' has shape {picture.shape}, expected {wanted}")
        return state, pictures

    def _zeros(self) -> tuple[Float32 | None, list[np.ndarray]]:
        saved = self._saved
        state = np.zeros(saved.state_dim, np.float32) if saved.state_dim else None
        return state, [np.zeros((c.height, c.width, 3), np.uint8) for c in saved.cameras]

    def _chunk(
        self,
        state: Float32 | None,
        pictures: list[np.ndarray],
        episode_id: int,
        step: int,
        earlier: Sequence[Observation] = (),
    ) -> Float32:
        import torch

        with torch.inference_mode(), self._noise(episode_id, step), self._precision():
            batch = self._before(self._batch(state, pictures))
            if self._saved.kind in WITH_QUEUES:
                batch = self._queued(batch, earlier)
            actions = self._policy.predict_action_chunk(batch)
            rows = self._after(actions[0])  # processors take a batch of actions: here the chunk's
        return np.array(rows.to("cpu", torch.float32).numpy())

    def _batch(self, state: Float32 | None, pictures: list[np.ndarray]) -> dict[str, Any]:
        """As lerobot.policies.utils.prepare_observation_for_inference: float32 CHW in [0, 1], batch of 1."""
        import torch

        batch: dict[str, Any] = {"task": self._options.task, "robot_type": ""}
        if state is not None:
            batch[STATE] = torch.from_numpy(state).unsqueeze(0)
        for key, picture in zip(self._saved.keys, pictures, strict=True):
            image = torch.from_numpy(np.array(picture)).type(torch.float32) / 255
            batch[key] = image.permute(2, 0, 1).contiguous().unsqueeze(0)
        return batch

    def _queued(self, batch: dict[str, Any], earlier: Sequence[Observation]) -> dict[str, Any]:
        """Fills the policy's queues as its select_action does from one step to the next.

        Observations that are missing are repeated, as at an episode's start.
        """
        from lerobot.policies.utils import populate_queues

        self._policy.reset()
        for past in earlier:
            populate_queues(self._policy._queues, self._stacked(self._before(self._batch(*self._seen(past)))))
        batch = self._stacked(batch)
        populate_queues(self._policy._queues, batch)
        return batch

    def _stacked(self, batch: dict[str, Any]) -> dict[str, Any]:
        """With all pictures under one key beside, as the queues want them."""
        import torch

        batch = {key: value for key, value in batch.items() if key != ACTION}  # preprocessors add an empty one
        if not self._saved.keys:
            return batch
        return batch | {IMAGES: torch.stack([batch[key] for key in self._saved.keys], dim=-4)}

    @contextlib.contextmanager
    def _noise(self, episode_id: int, step: int) -> Iterator[None]:
        """The same noise for one seed, episode and step, whatever was drawn before; others' noise is untouched."""
        import torch

        words = np.random.SeedSequence((self._options.seed, episode_id, step)).generate_state(1, np.uint64)
        devices = [torch.cuda.current_device()] if self._options.device == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(words[0]) & SEED_MASK)
            yield

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        mixed = self._options.device == "cuda" and self._policy.config.use_amp
        return torch.autocast("cuda") if mixed else contextlib.nullcontext()


def _open(saved: SavedPolicy, device: str) -> tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]:
    """(policy, preprocessor, postprocessor) on `device`."""
    import lerobot
    import torch
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{saved.directory}: device is cuda, but PyTorch finds no CUDA here; set device to cpu")
    directory, where = str(saved.directory), f"LeRobot {lerobot.__version__} here"
    config = _stage(
        f"{saved.directory / CONFIG}",
        f"; saved by another version than {where}?",
        lambda: PreTrainedConfig.from_pretrained(directory, cli_overrides=[f"--device={device}"]),
    )
    if getattr(config, "pretrained_backbone_weights", None):
        config.pretrained_backbone_weights = None  # they would be downloaded, then overwritten by the saved ones
    policy = _stage(
        f"{saved.directory / WEIGHTS}",
        f"; damaged, or saved by another version than {where}",
        lambda: get_policy_class(saved.kind).from_pretrained(directory, config=config, strict=True),
    )
    ours = {"device_processor": {"device": device}, "rename_observations_processor": {"rename_map": {}}}
    present = {step.get("registry_name") for step in processor_steps(saved.directory / PREPROCESSOR)}
    before, after = _stage(
        f"{saved.directory}: {PREPROCESSOR} or {POSTPROCESSOR}",
        f"; saved by another version than {where}?",
        lambda: make_pre_post_processors(
            config, directory, preprocessor_overrides={k: v for k, v in ours.items() if k in present}
        ),
    )
    return policy, before, after


def _stage(what: str, remedy: str, read: Callable[[], T]) -> T:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it prints
            return read()
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{what}: this policy needs the Python package '{error.name}', which is missing; install LeRobot with it"
        ) from None
    except (Exception, SystemExit) as error:  # LeRobot's readers raise what they like
        raise DataError(f"{what}: cannot be used: {type(error).__name__}: {reason(error)}{remedy}") from error
