"""The simulated humanoid: 29 position-controlled joints, a table and a box to lift."""

from __future__ import annotations

import mujoco
import numpy as np

from resfit_ros.sim.camera import OffscreenCamera
from resfit_ros.sim.errors import ClosedError, TargetError
from resfit_ros.sim.lift_task import LiftTask
from resfit_ros.sim.model import NUM_JOINTS, load_model

NANOSECONDS = 1_000_000_000


class HumanoidSim:
    """Steps the physics of the robot and of the task.

    The same seed and the same targets give bit-identical trajectories. Simulated time never
    goes back: a reset starts a new scene at a later time, as the graph's clock requires.
    """

    def __init__(self, task: LiftTask | None = None) -> None:
        self.task = task or LiftTask()
        self.model = load_model(self.task)
        self._data = mujoco.MjData(self.model.mj)
        self._timestep_ns = round(self.model.mj.opt.timestep * NANOSECONDS)
        self._ticks = 0
        self._held_steps = 0
        self._success = False
        self._set_point = self.model.home.copy()
        self._camera: OffscreenCamera | None = None
        self._closed = False
        self.reset(seed=0)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The 29 joints, in the order of every joint vector."""
        return self.model.joint_names

    @property
    def joint_lower(self) -> np.ndarray:
        """Lower joint limits, rad, float64 (29,)."""
        return self.model.lower.copy()

    @property
    def joint_upper(self) -> np.ndarray:
        """Upper joint limits, rad, float64 (29,)."""
        return self.model.upper.copy()

    @property
    def home(self) -> np.ndarray:
        """The pose at the start of each episode, rad, float64 (29,)."""
        return self.model.home.copy()

    def reset(self, seed: int) -> None:
        """Puts the robot at home, at rest, and the box where the seed says.

        Time goes on by one timestep, so that no two states share a stamp.
        """
        self._require_open()
        data, model = self._data, self.model
        box = self.task.sample(np.random.default_rng(seed))
        # The whole state is rewritten, the solver's warm start too: nothing of the episode
        # before may reach into the next one.
        mujoco.mj_resetData(model.mj, data)
        data.qpos[:NUM_JOINTS] = model.home
        data.ctrl[:] = model.home
        data.qpos[model.box_qpos : model.box_qpos + 7] = (
            box.x,
            box.y,
            model.box_rest_height,
            np.cos(0.5 * box.yaw),
            0.0,
            0.0,
            np.sin(0.5 * box.yaw),
        )
        mujoco.mj_forward(model.mj, data)
        self._set_point = model.home.copy()
        self._held_steps = 0
        self._success = False
        self._ticks += 1

    def step(self, target: np.ndarray, duration_s: float = 0.05) -> None:
        """Moves the set point linearly to `target` over the duration, and the physics with it.

        Args:
            target: joint positions, rad, (29,); clipped to the joint limits.
            duration_s: a positive multiple of the physics timestep.

        Raises:
            TargetError: wrong shape, a value that is not finite, or an impossible duration.
        """
        self._require_open()
        target = self._checked(target)
        ticks = self._ticks_of(duration_s)
        data, mj = self._data, self.model.mj
        start = self._set_point
        delta = (target - start) / ticks
        for tick in range(1, ticks + 1):
            data.ctrl[:] = target if tick == ticks else start + tick * delta
            mujoco.mj_step(mj, data)
        self._ticks += ticks
        self._set_point = target
        self._judge()

    @property
    def joint_positions(self) -> np.ndarray:
        """Measured joint positions, rad, float64 (29,)."""
        return self._data.qpos[:NUM_JOINTS].copy()

    @property
    def joint_velocities(self) -> np.ndarray:
        """Measured joint velocities, rad/s, float64 (29,)."""
        return self._data.qvel[:NUM_JOINTS].copy()

    @property
    def joint_efforts(self) -> np.ndarray:
        """Torques of the actuators, N m, float64 (29,); gravity compensation not included."""
        return self._data.actuator_force.copy()

    @property
    def set_point(self) -> np.ndarray:
        """The position that the actuators follow at this instant, rad, float64 (29,)."""
        return self._set_point.copy()

    @property
    def box_position(self) -> np.ndarray:
        """Centre of the box in the world frame, m, float64 (3,)."""
        start = self.model.box_qpos
        return self._data.qpos[start : start + 3].copy()

    @property
    def box_quaternion(self) -> np.ndarray:
        """Orientation of the box in the world frame, w x y z with w >= 0, float64 (4,)."""
        start = self.model.box_qpos + 3
        quaternion = self._data.qpos[start : start + 4]
        quaternion = quaternion / np.linalg.norm(quaternion)
        return -quaternion if quaternion[0] < 0.0 else quaternion

    @property
    def time_ns(self) -> int:
        """Simulated time, ns; an exact multiple of the timestep, never going back."""
        return self._ticks * self._timestep_ns

    @property
    def time_s(self) -> float:
        """Simulated time, s."""
        return self.time_ns / NANOSECONDS

    @property
    def timestep_s(self) -> float:
        """Step of the physics, s."""
        return self._timestep_ns / NANOSECONDS

    @property
    def success(self) -> bool:
        """The box has been lifted for `hold_steps` consecutive steps since the reset.

        Stays true until the next reset: the episode was won, whatever comes after.
        """
        return self._success

    @property
    def box_tilt(self) -> float:
        """Angle between the box's vertical axis and the world's, rad."""
        _, x, y, _ = self.box_quaternion
        return float(np.arccos(np.clip(1.0 - 2.0 * (x * x + y * y), -1.0, 1.0)))

    @property
    def palms_in_contact(self) -> tuple[bool, bool]:
        """Whether the (left, right) palm touches the box."""
        contact = self._data.contact
        touching = np.asarray(contact.geom).reshape(-1, 2)
        with_box = touching[(touching == self.model.box_geom).any(axis=1)]
        left, right = (bool((with_box == palm).any()) for palm in self.model.palm_geoms)
        return left, right

    def render(self, width: int, height: int, camera: str = "front") -> np.ndarray:
        """Draws the scene as a camera sees it, uint8 (height, width, 3), RGB.

        Raises:
            RenderError: no OpenGL backend, or no such camera.
        """
        self._require_open()
        if self._camera is None:
            self._camera = OffscreenCamera(self.model.mj)
        return self._camera.render(self._data, width, height, camera)

    def close(self) -> None:
        """Frees the renderer. Closing twice does nothing."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None
        self._closed = True

    def __enter__(self) -> HumanoidSim:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _judge(self) -> None:
        model = self.model
        velocity = self._data.qvel[model.box_dof : model.box_dof + 3]
        lifted = self.task.is_lifted(
            height=float(self._data.qpos[model.box_qpos + 2]) - model.box_rest_height,
            tilt=self.box_tilt,
            speed=float(np.linalg.norm(velocity)),
            held=all(self.palms_in_contact),
        )
        self._held_steps = self._held_steps + 1 if lifted else 0
        if self._held_steps >= self.task.hold_steps:
            self._success = True

    def _checked(self, target: np.ndarray) -> np.ndarray:
        target = np.asarray(target, dtype=np.float64)
        if target.shape != (NUM_JOINTS,):
            raise TargetError(f"target: expected shape ({NUM_JOINTS},), got {target.shape}")
        wrong = np.flatnonzero(~np.isfinite(target))
        if wrong.size:
            joint = self.joint_names[wrong[0]]
            raise TargetError(
                f"target: expected {NUM_JOINTS} finite values, "
                f"got {target[wrong[0]]} for {joint} ({wrong.size} not finite)"
            )
        return np.clip(target, self.model.lower, self.model.upper)

    def _ticks_of(self, duration_s: float) -> int:
        ticks = round(duration_s * NANOSECONDS / self._timestep_ns) if duration_s > 0.0 else 0
        if ticks < 1 or abs(ticks * self._timestep_ns - duration_s * NANOSECONDS) > 1.0:
            raise TargetError(
                f"duration_s: expected a positive multiple of {self.timestep_s}, got {duration_s}"
            )
        return ticks

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("the simulated robot was closed; expected an open one")
