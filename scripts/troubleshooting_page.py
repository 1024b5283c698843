"""Write the parts of docs/troubleshooting.md that follow from the code: learning advice, safety reasons.

Usage: troubleshooting_page.py [FILE]

Each warning is printed by its own rule, from figures that make it speak; the words beside it are kept here.
"""

import dataclasses
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from resfit_ros.core.learning_config import LearningConfig  # noqa: E402
from resfit_ros.core.types import LearnerPhase, Reason  # noqa: E402
from resfit_ros.learning.advice import RULES  # noqa: E402
from resfit_ros.learning.diagnostics import Diagnosis  # noqa: E402

PAGE = ROOT / "docs/troubleshooting.md"
HEALTHY = Diagnosis(
    residual_ratio=0.25,
    residual_scale=0.2,
    exploration_std=0.05,
    q_mean=0.6,
    q_spread=0.01,
    q_bias=0.0,
    q_correlation=0.8,
    q_episodes=50,
    return_observed=0.6,
    demo_share=0.5,
    success_rate=0.6,
    success_rate_start=0.4,
    phase=LearnerPhase.TRAINING,
    episodes=200,
    critic_updates=40_000,
    actor_updates=10_000,
)
# Rule: the figures of the example, and what the sentence itself leaves open.
ADVICE: dict[str, tuple[dict, str]] = {
    "not_finite": (
        {"non_finite": ("critic_loss", "q_mean")},
        "Checkpoints are in `checkpoints` of the run directory. `resfit data check` finds bags with NaN.",
    ),
    "no_success": (
        {"success_rate": 0.0},
        "Measure the base policy alone with `resfit evaluate` and no `--checkpoint`. At 0 % there is "
        "nothing to "
        "improve on: train it longer, or make the task easier.",
    ),
    "q_out_of_range": ({"q_mean": 1.3}, "With rewards of 0 and 1, no return is above 1."),
    "success_falls": (
        {"success_rate": 0.2, "residual_ratio": 0.5},
        "Nothing is lost: switch the residual off (`enable_residual`) and the base policy acts alone.",
    ),
    "residual_saturates": (
        {"saturated_joints": 0.4},
        "`resfit data view` of a late episode shows which joints.",
    ),
    "residual_without_gain": (
        {"success_rate": 0.4, "residual_ratio": 0.6},
        "Look at failures first: what the base policy does wrong may be out of reach of `residual_scale`.",
    ),
    "critics_overestimate": (
        {"return_observed": 0.2, "q_bias": 0.4},
        "Early in a run `q_bias` may be high and fall by itself; watch whether it does.",
    ),
    "critics_underestimate": (
        {"return_observed": 0.7, "q_bias": -0.4},
        "Timeouts show only part of their return and are lower bounds: look at `success_rate` beside it.",
    ),
    "q_uncorrelated": (
        {"q_correlation": 0.1},
        "Ask yourself: could a person who sees only these numbers and pictures tell whether it will succeed?",
    ),
    "spread_vanished": (
        {"q_spread": 0.0005},
        "Also check that the data is not all alike, e.g. one scene only.",
    ),
    "spread_huge": (
        {"q_spread": 0.2},
        "With very little data wait first: it should shrink as episodes come in.",
    ),
    "units_dead": ({"dead_share_critic": 0.7}, "A run does not recover from this by itself."),
    "gradient_clipped": (
        {"critic_grad_norm": 10.0},
        "A state that was never normalised is the usual cause: `normaliser.json` in the run directory "
        "shows the scaling.",
    ),
    "noise_drowns_residual": ({"exploration_std": 0.2}, "Both are in the normalised action space."),
    "residual_idle": ({"residual_ratio": 0.004}, "If Q is near zero everywhere, the cause is `no_success`."),
    "no_demonstrations": (
        {"demo_share": 0.0},
        "`--demos DIR` of `resfit finetune`, `demos:=DIR` of the launch file.",
    ),
    "learner_lags": (
        {"update_lag": 900.0},
        "[How fast](learning.md#how-fast) says how many updates a second to expect.",
    ),
}
# Reason: what the robot does, and what to do.
REASONS: dict[Reason, tuple[str, str]] = {
    Reason.POSITION_LIMIT: (
        "goes on, at the limit",
        "Now and then: nothing. Always: the policy was trained with other limits.",
    ),
    Reason.VELOCITY_LIMIT: (
        "goes on, more slowly",
        "Raise `max_velocity` or `speed_scale`, within what the robot allows.",
    ),
    Reason.ACCELERATION_LIMIT: (
        "goes on, more softly",
        "Raise `max_acceleration`; jumps between chunks: set `blend_steps`.",
    ),
    Reason.NON_FINITE: (
        "chunk: fault; residual: the base action alone",
        "Find the NaN in the policy's input (`resfit data check`). Arm again.",
    ),
    Reason.WRONG_SIZE: (
        "fault",
        "Make `joint_names` those of the policy, in its order; `resfit check-robot`.",
    ),
    Reason.STALE_ACTION: (
        "holds",
        "Look at `base_policy` and `residual` on /diagnostics. A slow policy needs `prefetch_steps`.",
    ),
    Reason.STALE_STATE: (
        "fault",
        "Check the rate of `/joint_states` with `resfit check-robot --live`. Arm again.",
    ),
    Reason.ESTOP: ("fault", "Look why it was pressed; release it (`estop` with `false`), then arm."),
    Reason.NO_EPISODE: (
        "stands still",
        "Start one: `/resfit/reset`. `episode_manager` says what it waits for.",
    ),
    Reason.FOREIGN_SOURCE: (
        "passes over that action",
        "Two graphs in one ROS domain: stop one, or set `ROS_DOMAIN_ID`. `ros2 topic info -v "
        "/resfit/action` names both.",
    ),
    Reason.STALE_SENSOR: (
        "holds, then goes on by itself",
        "/diagnostics of `aggregator` names the sensor: see its driver and network.",
    ),
    Reason.CLOCK_JUMP: (
        "holds, then goes on by itself",
        "Let chrony slew the clock instead of setting it while the robot moves.",
    ),
    Reason.BAD_STAMP: (
        "passes over that action",
        "Synchronise the computers' clocks; a driver must set `header.stamp`.",
    ),
    Reason.TRACKING: (
        "fault",
        "It hit something, or does not obey. Look first. If it is only slow: lower `max_velocity`, or "
        "raise `max_tracking_error`.",
    ),
    Reason.OVERLOAD: (
        "holds, then goes on by itself",
        "Take load off this computer: the learner to another one, fewer or smaller cameras.",
    ),
    Reason.FORCE: ("fault", "Look what it touches. Then `max_force`, `max_torque`; a gauge may drift."),
    Reason.COLLISION: (
        "brakes",
        "Look how close it really is. Links that may touch by design go into `collision_ignored`; a policy that "
        "comes too close by itself needs other demonstrations.",
    ),
    Reason.WORKSPACE: ("brakes", "Move the task into the box, or widen `workspace`."),
    Reason.RESIDUAL_LIMIT: (
        "goes on, with a smaller residual",
        "Intended where `max_residual` is below `residual_scale`; else raise it.",
    ),
    Reason.INTERVENTION: ("follows the person", "Nothing: that is you."),
    Reason.OPERATOR: (
        "holds",
        "/diagnostics of `safety_filter` names who asked; `/resfit/hold` with `false` ends the operator's"
        " own.",
    ),
    Reason.RAMP: (
        "goes on, over to the base action",
        "Nothing: the residual was switched off or was not finite, and is faded.",
    ),
}


def advice_section() -> str:
    """One heading per rule of the learner's advice, with the sentence it prints."""
    lines = []
    for rule in RULES:
        figures, more = ADVICE[rule.__name__]
        sentence = rule(dataclasses.replace(HEALTHY, **figures), LearningConfig())
        if sentence is None:
            raise SystemExit(f"{rule.__name__}: {figures} no longer make it speak; choose others in ADVICE")
        about = " ".join(rule.__doc__.split())
        lines += [f"### {rule.__name__}", "", *_wrapped(f"{sentence}.", "> "), ""]
        lines += [*_wrapped(f"{about} {more}"), ""]
    return "\n".join(lines)


def _wrapped(text: str, before: str = "") -> list[str]:
    whole = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, 120, initial_indent=before, subsequent_indent=before, **whole)


def reasons_section() -> str:
    """A table of the reasons for which the safety filter changed or refused an action."""
    meaning = dict(re.findall(r"REASON_(\w+)=\d+\s+# (.*)", (ROOT / "msg/ExecutedAction.msg").read_text()))
    rows = ["| Reason | What happened | The robot | What to do |", "|---|---|---|---|"]
    for reason, (robot, remedy) in REASONS.items():
        rows.append(f"| `{reason.words}` | {meaning[reason.name]} | {robot} | {remedy} |")
    return "\n".join([*rows, ""])


SECTIONS = {"learning advice": advice_section, "safety reasons": reasons_section}


def filled(page: str) -> str:
    """The page with every section of SECTIONS written anew."""
    for name, write in SECTIONS.items():
        begin = f"<!-- {name}: written by scripts/troubleshooting_page.py -->\n"
        end = f"<!-- end of {name} -->"
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{write()}\n{end}{rest.split(end, 1)[1]}"
    return page


def main(arguments: list[str]) -> int:
    """Writes the page; returns the exit status."""
    path = Path(arguments[0]) if arguments else PAGE
    path.write_text(filled(path.read_text()))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
