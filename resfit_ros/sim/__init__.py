"""The simulated robot: a humanoid with 29 joints that lifts a box with both hands.

Works with numpy and MuJoCo alone: no ROS, no torch.
"""

from resfit_ros.sim.demonstration_noise import DemonstrationNoise
from resfit_ros.sim.expert import ScriptedExpert
from resfit_ros.sim.grasp_plan import GraspPlan
from resfit_ros.sim.humanoid import HumanoidSim
from resfit_ros.sim.lift_task import BoxPose, LiftTask
from resfit_ros.sim.model import NUM_JOINTS, HumanoidModel, load_model

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
