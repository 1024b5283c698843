"""The MuJoCo model of the humanoid, with the addresses of what the simulation reads."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import mujoco
import numpy as np

from resfit_ros.sim.errors import ModelError
from resfit_ros.sim.lift_task import LiftTask

NUM_JOINTS = 29
SIDES = ("left", "right")


@dataclass(frozen=True)
class HumanoidModel:
    """A compiled model and the addresses of its joints, palms and box.

    Attributes:
        mj: the compiled model.
        joint_names: 29 names, in the order of the actuators and of `qpos[:29]`.
        lower, upper: joint limits, rad, float64 (29,).
        home: ready pose, hands either side above the table, rad, float64 (29,).
        box_qpos, box_dof: first address of the box's free joint in `qpos` and in `qvel`.
        box_body: body id of the box.
        box_rest_height: z of the box's centre when it stands on the table, m.
        box_geom, palm_geoms: geom ids.
        palm_sites: site ids in the middle of the palms' faces, (left, right).
    """

    mj: mujoco.MjModel
    joint_names: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    home: np.ndarray
    box_qpos: int
    box_dof: int
    box_body: int
    box_rest_height: float
    box_geom: int
    palm_geoms: tuple[int, int]
    palm_sites: tuple[int, int]


def load_model(task: LiftTask | None = None) -> HumanoidModel:
    """Compiles the humanoid from the package's data and gives its box the task's properties.

    Raises:
        ModelError: the model does not have 29 hinge joints with one actuator each, in order.
    """
    task = task or LiftTask()
    xml = resources.files("resfit_ros.sim").joinpath("assets/humanoid.xml").read_text("utf-8")
    mj = mujoco.MjModel.from_xml_string(xml)
    names = tuple(mj.actuator(i).name for i in range(mj.nu))
    first_joints = tuple(mj.joint(i).name for i in range(min(NUM_JOINTS, mj.njnt)))
    if len(names) != NUM_JOINTS or names != first_joints:
        raise ModelError(
            f"expected {NUM_JOINTS} actuators in the order of the first joints {first_joints}, "
            f"got {len(names)}: {names}"
        )
    box_geom = mj.geom("box").id
    box_body = mj.body("box").id
    _set_box(mj, box_body, box_geom, task)
    table = mj.geom("table").id
    table_top = float(mj.body("table").pos[2] + mj.geom_pos[table, 2] + mj.geom_size[table, 2])
    return HumanoidModel(
        mj=mj,
        joint_names=names,
        lower=mj.jnt_range[:NUM_JOINTS, 0].copy(),
        upper=mj.jnt_range[:NUM_JOINTS, 1].copy(),
        home=mj.key("home").ctrl.copy(),
        box_qpos=int(mj.joint("box").qposadr[0]),
        box_dof=int(mj.joint("box").dofadr[0]),
        box_body=box_body,
        box_rest_height=table_top + float(mj.geom_size[box_geom, 2]),
        box_geom=box_geom,
        palm_geoms=(mj.geom("left_palm").id, mj.geom("right_palm").id),
        palm_sites=(mj.site("left_palm").id, mj.site("right_palm").id),
    )


def _set_box(mj: mujoco.MjModel, body: int, geom: int, task: LiftTask) -> None:
    scale = task.box_mass / float(mj.body_mass[body])
    mj.body_mass[body] *= scale
    mj.body_inertia[body] *= scale
    mj.geom_friction[geom, 0] = task.sliding_friction
    mj.geom_friction[geom, 1] = task.torsional_friction
    mujoco.mj_setConst(mj, mujoco.MjData(mj))
