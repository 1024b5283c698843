"""What the operator can press: buttons, their keys, and the services behind them."""

import enum
from dataclasses import dataclass

from resfit_ros.core.types import Outcome


class Control(enum.Enum):
    """One thing to press; the value is its name in snapshots and in `RosLink.press`."""

    SUCCESS = "success"
    FAILURE = "failure"
    DISCARD = "discard"
    RESET = "reset"
    ENABLE_RESIDUAL = "enable_residual"
    DISABLE_RESIDUAL = "disable_residual"
    ARM = "arm"
    DISARM = "disarm"
    ESTOP = "estop"
    RELEASE_ESTOP = "release_estop"
    HOLD = "hold"
    RESUME = "resume"


@dataclass(frozen=True)
class About:
    """label: on the button; tip: what it does; service: relative to the graph's namespace; node: offers it;
    data: what a SetBool is called with; outcome: of a label; tone: good, bad, plain, danger."""

    label: str
    tip: str
    service: str
    node: str
    data: bool | None = None
    outcome: Outcome | None = None
    tone: str = "plain"


MANAGER, FILTER = "episode_manager", "safety_filter"
ABOUT = {
    Control.SUCCESS: About(
        "Success", "ends the episode as success", "label", MANAGER, outcome=Outcome.SUCCESS, tone="good"
    ),
    Control.FAILURE: About(
        "Failure", "ends the episode as failure", "label", MANAGER, outcome=Outcome.FAILURE, tone="bad"
    ),
    Control.DISCARD: About(
        "Discard", "ends the episode; nothing is learnt from it", "label", MANAGER, outcome=Outcome.ABORTED
    ),
    Control.RESET: About(
        "Reset", "ends the episode as aborted, resets the scene, starts the next one", "reset", MANAGER
    ),
    Control.ENABLE_RESIDUAL: About(
        "Enable residual", "base policy + learned correction", "enable_residual", "residual", data=True
    ),
    Control.DISABLE_RESIDUAL: About(
        "Disable residual", "base policy alone", "enable_residual", "residual", data=False
    ),
    Control.ARM: About("Arm", "lets actions through to the robot", "arm", FILTER, data=True),
    Control.DISARM: About("Disarm", "nothing is sent once the robot stands still", "arm", FILTER, data=False),
    Control.ESTOP: About(
        "E-STOP",
        "stops the robot at once; latched until released and armed",
        "estop",
        FILTER,
        data=True,
        tone="danger",
    ),
    Control.RELEASE_ESTOP: About(
        "Release e-stop", "the robot still has to be armed", "estop", FILTER, data=False
    ),
    Control.HOLD: About("Hold", "brakes and keeps the robot where it is", "hold", FILTER, data=True),
    Control.RESUME: About("Resume", "ends the hold; the next action goes on", "hold", FILTER, data=False),
}

STOPS = (Control.ESTOP, Control.HOLD)  # taken at once, always: better late than never

# Key to what it presses, in this order of precedence: of the two residual controls the one that is enabled.
# The keys of the e-stop and the hold only ever stop: pressed twice, they must not let the robot go again.
# Disarm, release and resume have none.
SHORTCUTS: dict[str, tuple[Control, ...]] = {
    "S": (Control.SUCCESS,),
    "F": (Control.FAILURE,),
    "D": (Control.DISCARD,),
    "R": (Control.RESET,),
    "E": (Control.ENABLE_RESIDUAL, Control.DISABLE_RESIDUAL),
    "A": (Control.ARM,),
    "H": (Control.HOLD,),
    "Space": (Control.ESTOP,),
}
KEY_OF = {control: key for key, controls in SHORTCUTS.items() for control in controls}
