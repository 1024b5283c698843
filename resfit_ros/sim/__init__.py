"""The simulated robot: a humanoid with 29 joints that lifts a box with both hands.

Works with numpy and MuJoCo alone: no ROS, no torch.
"""

import os

from resfit_ros.sim.graphics import load_triton_first

if os.environ.get("MUJOCO_GL"):  # MuJoCo then loads OpenGL when it is imported
    load_triton_first()

from resfit_ros.sim.demonstration_noise import DemonstrationNoise  # noqa: E402
from resfit_ros.sim.expert import ScriptedExpert  # noqa: E402
from resfit_ros.sim.grasp_plan import GraspPlan  # noqa: E402
from resfit_ros.sim.humanoid import HumanoidSim  # noqa: E402
from resfit_ros.sim.lift_task import BoxPose, LiftTask  # noqa: E402
from resfit_ros.sim.model import NUM_JOINTS, HumanoidModel, load_model  # noqa: E402

__all__ = [
    "NUM_JOINTS",
    "BoxPose",
    "DemonstrationNoise",
    "GraspPlan",
    "HumanoidModel",
    "HumanoidSim",
    "LiftTask",
    "ScriptedExpert",
    "load_model",
]
