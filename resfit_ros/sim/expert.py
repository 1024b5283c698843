"""A scripted demonstrator: lifts the box from what a real controller would see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resfit_ros.sim.demonstration_noise import DemonstrationNoise, EpisodeHabit
from resfit_ros.sim.errors import TargetError
from resfit_ros.sim.grasp_plan import GraspPlan, Progress
from resfit_ros.sim.model import NUM_JOINTS, SIDES, HumanoidModel
from resfit_ros.sim.palm_kinematics import PalmKinematics, PalmPose, hand_rotation, yaw_rotation

FINGERS = ("index", "middle", "ring", "pinky")
FINGER_CURL_OPEN = 0.0  # rad, while the hand comes close
FINGER_CURL_HELD = 0.06  # rad, against the box
EYES = np.array([0.0, 0.0, 1.44])  # m, world frame
GAZE_SHARE = 0.6  # the eyes do the rest: the head turns only part of the way
GAZE_RATE = 0.15  # share of the remaining turn per step


class ScriptedExpert:
    """Computes joint targets by inverse kinematics on a plan in the frame of the box.

    It sees joint positions and the pose of the box, nothing else of the simulation.
    """

    def __init__(
        self,
        model: HumanoidModel,
        plan: GraspPlan | None = None,
        noise: DemonstrationNoise | None = None,
    ) -> None:
        """Prepares the demonstrator.

        Args:
            model: the humanoid, for its kinematics only.
            plan: the motion; the default one fits the default task.
            noise: deviations from the plan; None for a perfect demonstrator.
        """
        self._model = model
        self._nominal_plan = plan or GraspPlan()
        self._noise = noise or DemonstrationNoise.none()
        self._kinematics = PalmKinematics(model)
        names = model.joint_names
        self._head = (names.index("head_pan"), names.index("head_tilt"))
        self._torso = names.index("torso_yaw")
        self._fingers = np.array([names.index(f"{s}_{f}") for s in SIDES for f in FINGERS])
        self.reset(seed=0)

    def reset(self, seed: int) -> None:
        """Starts an episode; the seed draws its habits and its noise."""
        self._rng = np.random.default_rng(seed)
        habit = self._noise.draw(self._rng)
        self._habit: EpisodeHabit = habit
        nominal = self._nominal_plan
        self._plan = replace(
            nominal,
            approach_steps=nominal.approach_steps * habit.durations[0],
            squeeze_steps=nominal.squeeze_steps * habit.durations[1],
            lift_steps=nominal.lift_steps * habit.durations[2],
            squeeze_force=max(0.0, nominal.squeeze_force + habit.squeeze_offset),
        )
        self._step = 0
        self._command: np.ndarray | None = None
        self._start_palms: tuple[PalmPose, PalmPose] | None = None
        self._box: tuple[np.ndarray, float] | None = None
        self._squeeze_depth = np.zeros(2)  # m, of the set point behind the (left, right) side
        self._joint_noise = np.zeros(NUM_JOINTS)

    def act(
        self, joint_positions: np.ndarray, box_position: np.ndarray, box_quaternion: np.ndarray
    ) -> np.ndarray:
        """The joint targets of the next control step.

        Args:
            joint_positions: measured, rad, (29,).
            box_position: centre of the box in the world frame, m, (3,).
            box_quaternion: w x y z, (4,).

        Returns:
            Joint targets within the joint limits, rad, float64 (29,).
        """
        joint_positions = np.asarray(joint_positions, dtype=np.float64)
        if joint_positions.shape != (NUM_JOINTS,):
            raise TargetError(
                f"joint_positions: expected shape ({NUM_JOINTS},), got {joint_positions.shape}"
            )
        if self._command is None:
            self._command = joint_positions.copy()
            self._start_palms = self._kinematics.palms(joint_positions)
        self._step += 1
        progress = self._plan.progress(self._step)
        if progress.squeeze == 0.0 or self._box is None:
            # From the squeeze on the palms move the box: following it would be chasing oneself.
            self._box = (np.array(box_position, dtype=np.float64), yaw_of(box_quaternion))
            yaw = self._box[1] + self._habit.yaw_offset
            compliance = self._kinematics.compliance(self._command, yaw)
            self._squeeze_depth = self._plan.squeeze_force * compliance
        command = self._kinematics.solve(self._command, self._palm_goals(progress))
        self._move_head(command)
        self._move_fingers(command, progress)
        self._command = command
        return np.clip(command + self._next_noise(), self._model.lower, self._model.upper)

    def _palm_goals(self, progress: Progress) -> tuple[PalmPose, PalmPose]:
        assert self._box is not None and self._start_palms is not None
        plan, habit = self._plan, self._habit
        centre, box_yaw = self._box
        yaw = box_yaw + habit.yaw_offset
        to_world = yaw_rotation(yaw)
        beside = plan.box_half_width + plan.clearance
        inside = plan.box_half_width - self._squeeze_depth
        lateral = beside + progress.squeeze * (inside - beside)  # one for each palm
        rotation = hand_rotation(progress.approach * yaw, plan.finger_pitch)
        goals = []
        for start, offset, beside_box in zip(
            self._start_palms, habit.palm_offsets, (lateral[0], -lateral[1])
        ):
            grasp = centre + to_world @ (offset + (plan.palm_ahead, beside_box, 0.0))
            position = start.position + progress.approach * (grasp - start.position)
            position[2] += progress.lift * plan.lift
            goals.append(PalmPose(position=position, rotation=rotation))
        return goals[0], goals[1]

    def _move_head(self, command: np.ndarray) -> None:
        assert self._box is not None
        x, y, z = self._box[0] - EYES
        pan = GAZE_SHARE * (np.arctan2(y, x) - command[self._torso])
        tilt = GAZE_SHARE * np.arctan2(-z, np.hypot(x, y))
        for joint, goal in zip(self._head, (pan, tilt)):
            command[joint] += GAZE_RATE * (goal - command[joint])

    def _move_fingers(self, command: np.ndarray, progress: Progress) -> None:
        home = self._model.home[self._fingers]
        opened = home + progress.approach * (FINGER_CURL_OPEN - home)
        command[self._fingers] = opened + progress.squeeze * (FINGER_CURL_HELD - opened)

    def _next_noise(self) -> np.ndarray:
        """Slow joint noise, rad, (29,): a first-order autoregression that starts at zero."""
        keep = self._noise.joint_correlation
        fresh = self._noise.joint * np.sqrt(1.0 - keep**2)
        self._joint_noise = keep * self._joint_noise + fresh * self._rng.standard_normal(NUM_JOINTS)
        return self._joint_noise


def yaw_of(quaternion: np.ndarray) -> float:
    """Turn about the vertical of a quaternion w x y z, rad."""
    w, x, y, z = np.asarray(quaternion, dtype=np.float64)
    return float(np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)))
