"""What bags have to say of themselves to be of the robot at hand."""

import dataclasses
from typing import Any

from resfit_ros.bringup import RunConfig, node_parameters
from resfit_ros.core.parameters import AggregatorParameters, LearnerParameters, RecorderParameters
from resfit_ros.data.bag_about import BagAbout


def robot_about(
    p: AggregatorParameters | RecorderParameters | LearnerParameters, **more: Any
) -> BagAbout:
    """What is observed, by a node's parameters; more: further fields of BagAbout."""
    return BagAbout(
        joint_names=p.joint_names,
        state=p.state,
        camera_names=p.camera_names,
        image_size=(p.image_width, p.image_height) if p.camera_names else (),
        control_hz=p.control_hz,
        **more,
    )


def configured_about(config: RunConfig) -> BagAbout:
    """What bags of the configured robot say of themselves."""
    return robot_about(node_parameters(config, "aggregator"))


def learner_about(p: LearnerParameters) -> BagAbout:
    """The same by the learner's parameters; cameras it does not look at may be others."""
    about = robot_about(p)
    return about if p.use_images else dataclasses.replace(about, camera_names=(), image_size=())
