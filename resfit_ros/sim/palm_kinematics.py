"""Forward and inverse kinematics of the two palms."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from resfit_ros.sim.errors import ModelError
from resfit_ros.sim.model import NUM_JOINTS, SIDES, HumanoidModel

ARM_JOINTS = (
    "shoulder_pitch",
    "shoulder_roll",
    "shoulder_yaw",
    "elbow",
    "wrist_roll",
    "wrist_pitch",
    "wrist_yaw",
)


@dataclass(frozen=True)
class PalmPose:
    """Where the middle of a palm's face is and how the hand is turned.

    Attributes:
        position: in the world frame, m, (3,).
        rotation: hand to world, (3, 3). The hand's -z runs along the fingers, its +x to the
            thumb's side; the left palm faces -y, the right palm +y.
    """

    position: np.ndarray
    rotation: np.ndarray


def hand_rotation(yaw: float, pitch: float) -> np.ndarray:
    """A hand with the thumb up and the fingers along `yaw`, pointing `pitch` below the horizon.

    Returns:
        Hand to world, (3, 3); angles in rad.
    """
    turn = pitch - 0.5 * np.pi
    about_y = np.array(
        [
            [np.cos(turn), 0.0, np.sin(turn)],
            [0.0, 1.0, 0.0],
            [-np.sin(turn), 0.0, np.cos(turn)],
        ]
    )
    return yaw_rotation(yaw) @ about_y


def yaw_rotation(yaw: float) -> np.ndarray:
    """Rotation about the vertical, (3, 3); angle in rad."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


class PalmKinematics:
    """Kinematics of torso yaw and both arms, on a private copy of the model's state."""

    def __init__(
        self,
        model: HumanoidModel,
        iterations: int = 6,
        damping: float = 0.02,
        posture_gain: float = 0.1,
        max_joint_step: float = 0.2,
    ) -> None:
        """Prepares the solver.

        Args:
            model: the humanoid.
            iterations: of damped least squares per call.
            damping: bounds the step near a straight elbow; rows are in m and rad.
            posture_gain: share of the way to the home pose per iteration, in the null space.
            max_joint_step: bound on one iteration's step, rad.
        """
        self._model = model
        self._data = mujoco.MjData(model.mj)
        self._iterations = iterations
        self._damping = damping
        self._posture_gain = posture_gain
        self._max_joint_step = max_joint_step
        wanted = ["torso_yaw", *(f"{side}_{joint}" for side in SIDES for joint in ARM_JOINTS)]
        missing = [name for name in wanted if name not in model.joint_names]
        if missing:
            raise ModelError(f"expected the joints {wanted}, got none called {missing}")
        self._joints = np.array([model.joint_names.index(name) for name in wanted])
        self._jacobian = np.zeros((12, model.mj.nv))

    def palms(self, joints: np.ndarray) -> tuple[PalmPose, PalmPose]:
        """Poses of the (left, right) palm at joint positions in rad, (29,)."""
        self._forward(joints)
        left, right = (self._palm(site) for site in self._model.palm_sites)
        return left, right

    def solve(self, start: np.ndarray, goals: tuple[PalmPose, PalmPose]) -> np.ndarray:
        """Joint positions that bring both palms to their goals, starting from `start`.

        Damped least squares; the freedom that the palms leave pulls towards the home pose.

        Args:
            start: rad, (29,); joints other than torso yaw and arms are returned as they are.
            goals: of the (left, right) palm.

        Returns:
            rad, within the joint limits, (29,).
        """
        joints = np.array(start, dtype=np.float64)
        chain = self._joints
        lower, upper = self._model.lower[chain], self._model.upper[chain]
        identity = np.eye(len(chain))
        for _ in range(self._iterations):
            self._forward(joints)
            error = np.concatenate(
                [self._error(site, goal) for site, goal in zip(self._model.palm_sites, goals)]
            )
            for row, site in zip((0, 6), self._model.palm_sites):
                mujoco.mj_jacSite(
                    self._model.mj,
                    self._data,
                    self._jacobian[row : row + 3],
                    self._jacobian[row + 3 : row + 6],
                    site,
                )
            jacobian = self._jacobian[:, chain]
            damped = jacobian @ jacobian.T + self._damping**2 * np.eye(len(error))
            inverse = np.linalg.solve(damped, jacobian).T
            to_home = self._posture_gain * (self._model.home[chain] - joints[chain])
            step = inverse @ error + (identity - inverse @ jacobian) @ to_home
            step *= min(1.0, self._max_joint_step / max(float(np.abs(step).max()), 1e-9))
            joints[chain] = np.clip(joints[chain] + step, lower, upper)
        return joints

    def compliance(self, joints: np.ndarray, yaw: float) -> np.ndarray:
        """How far each palm yields per force along its sideways axis, m/N, (2,) left, right.

        The arms' position control is a spring in each joint, K: the palm's compliance along a
        direction n is n^T J K^-1 J^T n. The torso is left out: the palms press against each
        other, and what they do to it cancels.

        Args:
            joints: rad, (29,).
            yaw: of the sideways axis against the world's y, rad.
        """
        self._forward(joints)
        sideways = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
        arms = self._joints[1:]
        stiffness = self._model.mj.actuator_gainprm[arms, 0]
        jacobian = np.zeros((3, self._model.mj.nv))
        result = np.zeros(2)
        for index, site in enumerate(self._model.palm_sites):
            mujoco.mj_jacSite(self._model.mj, self._data, jacobian, None, site)
            along = sideways @ jacobian[:, arms]
            result[index] = np.sum(along**2 / stiffness)
        return result

    def _forward(self, joints: np.ndarray) -> None:
        self._data.qpos[:NUM_JOINTS] = joints
        mujoco.mj_kinematics(self._model.mj, self._data)
        mujoco.mj_comPos(self._model.mj, self._data)

    def _palm(self, site: int) -> PalmPose:
        return PalmPose(
            position=self._data.site_xpos[site].copy(),
            rotation=self._data.site_xmat[site].reshape(3, 3).copy(),
        )

    def _error(self, site: int, goal: PalmPose) -> np.ndarray:
        """Position error in m and rotation error as a rotation vector in rad, (6,)."""
        palm = self._palm(site)
        # Half the summed cross products of the axes: the rotation vector for small errors.
        turn = 0.5 * np.cross(palm.rotation.T, goal.rotation.T).sum(axis=0)
        return np.concatenate([goal.position - palm.position, turn])
