"""The safety filter's states and reasons, and the learner's phases, as an operator wants to read them."""

from resfit_ros.core.types import LearnerPhase, Reason, SafetyState

# What each state means to a person beside the robot, and the colour that goes with the words.
STATES = {
    SafetyState.DISARMED: ("DISARMED", "nothing is sent to the robot", "grey"),
    SafetyState.ARMED: ("ARMED", "the robot may move", "green"),
    SafetyState.HOLD: ("HOLD", "the robot is kept still and goes on by itself", "amber"),
    SafetyState.FAULT: ("FAULT", "stopped; arm again to go on", "red"),
}
NOT_HEARD = ("NOT HEARD", "no word from the safety filter", "red")

REASONS = {
    Reason.POSITION_LIMIT: "clamped to a position limit",
    Reason.VELOCITY_LIMIT: "clamped to a velocity limit",
    Reason.ACCELERATION_LIMIT: "clamped to an acceleration limit",
    Reason.NON_FINITE: "an action was NaN or infinite",
    Reason.WRONG_SIZE: "an action had other joints than the robot",
    Reason.STALE_ACTION: "no fresh action came in time",
    Reason.STALE_STATE: "no fresh joint state came in time",
    Reason.ESTOP: "e-stop",
    Reason.NO_EPISODE: "no episode is running",
    Reason.FOREIGN_SOURCE: "an action came from a node that is not trusted",
    Reason.STALE_SENSOR: "a camera or sensor is silent or repeats itself",
    Reason.CLOCK_JUMP: "the clock jumped",
    Reason.BAD_STAMP: "an action had a bad time stamp",
    Reason.TRACKING: "the joints are far from where they were sent",
    Reason.OVERLOAD: "the computer is too busy",
    Reason.FORCE: "a force or torque was above its limit",
    Reason.COLLISION: "the robot would touch itself",
    Reason.WORKSPACE: "a link would leave the workspace",
    Reason.RESIDUAL_LIMIT: "the residual was cut to its bound",
    Reason.INTERVENTION: "a human drives",
    Reason.OPERATOR: "the operator asked to hold",
    Reason.RAMP: "the residual is being faded out",
}

PHASES = {
    LearnerPhase.WAITING: "waiting for data",
    LearnerPhase.WARM_UP: "warm-up: base policy + noise",
    LearnerPhase.CRITIC_ONLY: "training the critics alone",
    LearnerPhase.TRAINING: "training",
    LearnerPhase.PAUSED: "paused",
    LearnerPhase.DONE: "done: the step budget is used up",
}


def reason_words(reasons: Reason) -> list[str]:
    """One phrase per reason bit, in bit order."""
    return [text for reason, text in REASONS.items() if reason & reasons]
