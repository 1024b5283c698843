"""An exported residual actor: one file, run by NumPy and ONNX Runtime (or PyTorch), without a checkpoint."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resfit_ros.core.acting import ActingSchedule, base_action, residual_action
from resfit_ros.core.actor_settings import settings_difference
from resfit_ros.core.errors import ConfigError, DataError, MismatchError, ResfitError, ShapeError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Float32, Observation
from resfit_ros.learning.exported_file import FEATURES, NORMALISER, ONNX_GRAPH, read_exported
from resfit_ros.learning.exported_graph import Graph, onnx_graph, torch_graph
from resfit_ros.learning.hashes import SHOWN

Images = Sequence[np.ndarray]  # uint8 (H, W, 3) per camera
# What reading a manifest raises where its entries are of other kinds than `export` writes.
UNFIT = (LookupError, TypeError, ValueError, AttributeError)


class ExportedResidual:
    """The correction that a fine-tuned policy adds to the base policy's actions, from one file.

        residual = ExportedResidual(Path("lift.resfit"))
        command = residual.command(state, base_action, phase, images)

    state (S,) raw, as described by `settings["state"]`; base (A,) the base policy's action of this step in
    joint units, joints in the order of `normaliser.joint_names`; phase in [0, 1), position within the executed
    part of the chunk; images: uint8 (H, W, 3) per camera. All vectors float32. Not thread-safe.
    """

    def __init__(self, path: Path) -> None:
        """Raises DataError when the file is damaged, ConfigError when what runs it is not installed."""
        manifest, files = read_exported(path)
        self.path = path
        try:
            self.normaliser = Normaliser.from_dict(json.loads(files[NORMALISER]))
            self.settings: dict[str, Any] = dict(manifest["settings"])
            self.base_policy: dict[str, Any] = dict(manifest["base_policy"])
            self.provenance: dict[str, Any] = dict(manifest["provenance"])
            self.cameras = tuple((int(height), int(width)) for height, width in manifest["cameras"])
            acting = manifest["acting"]
            self.schedule = ActingSchedule(
                residual_scale=float(acting["residual_scale"]),
                without_base=bool(acting["without_base"]),
                warm_up=False,
                version=1,
            )
        except ResfitError as error:
            raise DataError(f"{path}: {error}; export it again") from None
        except UNFIT as error:
            raise DataError(f"{path}: its manifest cannot be used ({error!r}); export it again") from None
        self._graph = self._open(manifest["graph"], files)
        self._probe()

    @property
    def base_policy_sha256(self) -> str:
        """Identity of the base policy it corrects; empty: not known."""
        return self.base_policy["sha256"]

    def require(self, settings: Mapping[str, Any] | None = None, base_policy_sha256: str = "") -> None:
        """Raises MismatchError, naming both sides, where robot, settings or base policy are others.

        settings: as of core.actor_settings; what is not given is not compared.
        """
        difference = settings_difference(self.settings, settings or {})
        if difference:
            raise MismatchError(
                f"{self.path}: made for another robot or other settings: {difference}; use the configuration it "
                "was trained with"
            )
        theirs = self.base_policy_sha256
        if theirs and base_policy_sha256 and theirs != base_policy_sha256:
            raise MismatchError(
                f"{self.path}: learnt on top of base policy '{self.base_policy['name']}' ({theirs[:SHOWN]}), here "
                f"it is {base_policy_sha256[:SHOWN]}; use the base policy it was trained with"
            )

    def direction(self, state: Float32, base: Float32, phase: float, images: Images = ()) -> Float32:
        """What the network says: (A,) in [-1, 1], before it is scaled.

        Raises ShapeError or DataError on inputs of other sizes than it was trained on.
        """
        n = self.normaliser
        state, base = np.asarray(state, np.float32), np.asarray(base, np.float32)
        if base.shape != (n.action_dim,):
            raise ShapeError(f"the base action has shape {base.shape}, expected ({n.action_dim},)")
        parts = n.normalise_state(state), n.normalise_action(base), [phase]
        vector = np.concatenate(parts, dtype=np.float32)[None]
        return self._graph([vector, *self._pictures(images)])[0]

    def command(self, state: Float32, base: Float32, phase: float, images: Images = ()) -> Float32:
        """What to send to the robot, (A,) in joint units: the base action with the correction.

        Raises DataError when it is not finite.
        """
        seen = Observation(0, 0, 0, state, tuple(images))
        alone = base_action(seen, np.asarray(base, np.float32), phase, "")
        action = residual_action(alone, self(seen, base, phase), None, self.schedule, self.normaliser)
        if action is None:
            raise DataError(
                f"{self.path}: the residual is not finite; use the base action alone, and check the inputs"
            )
        return action.command

    def __call__(self, observation: Observation, base: Float32, phase: float) -> Float32:
        """`direction` of an observation, as the actors of checkpoints have it."""
        return self.direction(observation.state, base, phase, observation.images)

    def _pictures(self, images: Images) -> list[np.ndarray]:
        if not self.cameras:
            return []
        sizes = tuple(image.shape[:2] for image in images)
        if sizes != self.cameras:
            raise DataError(
                f"the actor was trained on pictures of {list(self.cameras)} (height, width), the observation "
                f"has {list(sizes)}; set camera_names, image_height and image_width alike"
            )
        return [np.ascontiguousarray(image, np.uint8)[None] for image in images]

    def _open(self, graph: str, files: Mapping[str, bytes]) -> Graph:
        if graph == ONNX_GRAPH:
            return onnx_graph(files[graph], str(self.path))
        return torch_graph(files[graph], files.get(FEATURES), str(self.path))

    def _probe(self) -> None:
        """Runs it once before anybody relies on it."""
        n = self.normaliser
        try:
            pictures = tuple(np.zeros((*size, 3), np.uint8) for size in self.cameras)
            direction = self.direction(n.state_mean, n.action_center, 0.0, pictures)
        except Exception as error:  # each runtime raises what it likes on a graph for other inputs
            if isinstance(error, ConfigError):
                raise
            raise DataError(f"{self.path}: its graph does not run ({error}); export it again") from None
        if direction.shape != (n.action_dim,) or not np.all(np.isfinite(direction)):
            raise DataError(f"{self.path}: the probe is not {n.action_dim} finite numbers; export it again")

