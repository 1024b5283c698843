"""Warnings in plain words: what is seen, what it means, and which parameter to change.

Each rule is a pure function of one Diagnosis; those about critics and networks are in
`critic_advice.py`. A rule answers None when all is well, when its figure is not known (NaN compares
false) and when it is too early to tell. Thresholds were set on logs of runs that reached 0.9 success
and of runs that failed; the figures beside them are from those logs.
Nothing is remembered here: whoever prints the sentences throttles them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.types import LearnerPhase
from resfit_ros.learning.critic_advice import (
    critics_overestimate,
    critics_underestimate,
    early,
    gradient_clipped,
    not_finite,
    q_out_of_range,
    q_uncorrelated,
    spread_huge,
    spread_vanished,
    units_dead,
)
from resfit_ros.learning.diagnostics import Diagnosis

# With a base policy of 10 % success, 30 failures in a row have a chance of 4 %.
MIN_EPISODES = 30
# Two success windows of 50 episodes that do not overlap.
COMPARED_EPISODES = 100
# Two standard errors of the difference of two such windows, at 50 % success.
SUCCESS_DROP = 0.2
# Good enough that a residual need not raise it.
GOOD_SUCCESS = 0.9
# Mean |residual| / scale: 0.2-0.4 in runs that learnt, above 0.5 in those that did not.
GROWN_RESIDUAL, LARGE_RESIDUAL = 0.3, 0.5
# 0.18 and more within 500 actor updates, in runs that learnt.
IDLE_RESIDUAL, IDLE_ACTOR_UPDATES = 0.01, 1000
# None in runs that learnt (components: below 0.05); 0.41 and 0.56 in one that did not.
SATURATED_JOINTS, SATURATED_SHARE = 0.25, 0.3
# 0.15-0.25 is usual; at 1 a third of the noise lies beyond the residual's bound.
NOISE_TO_SCALE = 1.0
# Environment steps: above 235 never seen after the critics' head start where episodes are held back.
LAG_STEPS = 500


@dataclass(frozen=True, slots=True)
class Advice:
    """One warning: `key` names the rule, `sentence` is for the user."""

    key: str
    sentence: str


def no_demonstrations(d: Diagnosis, c: LearningConfig) -> str | None:
    """Half of each batch should be demonstrations and there are none."""
    if c.offline_fraction == 0.0 or not d.demo_share <= 0.0:
        return None
    return (
        f"no demonstrations in the batch, where `offline_fraction` asks for {c.offline_fraction:.0%}: "
        "early on they are the only successes to learn from. Set `demo_dir` to recorded demonstrations, "
        "or `offline_fraction` to 0 if none is meant"
    )


def no_success(d: Diagnosis, c: LearningConfig) -> str | None:
    """Reward comes from success alone."""
    if d.episodes < MIN_EPISODES or not d.success_rate <= 0.0:
        return None
    noise = "warmup_std" if d.phase is LearnerPhase.WARM_UP else "exploration_std"
    return (
        f"no success in the newest of {d.episodes} episodes: no reward, so nothing to learn from. Check "
        "that successes are labelled, that the base policy alone succeeds now and then, and that "
        f"`{noise}` ({getattr(c, noise):g}) does not spoil it"
    )


def _success_drop(d: Diagnosis) -> float:
    # Rounded: 0.5 - 0.3 is a little less than 0.2 in binary.
    return round(d.success_rate_start - d.success_rate, 6)


def success_falls(d: Diagnosis, c: LearningConfig) -> str | None:
    """The residual makes the base policy worse."""
    compared = d.episodes >= COMPARED_EPISODES and not early(d) and not c.rlpd
    if not (compared and d.residual_ratio >= GROWN_RESIDUAL and _success_drop(d) >= SUCCESS_DROP):
        return None
    return (
        f"success fell from {d.success_rate_start:.0%} to {d.success_rate:.0%} while |residual| is "
        f"{d.residual_ratio:.0%} of its bound: the actor follows critics that are wrong about large "
        f"residuals. Raise `residual_penalty` (now {c.residual_penalty:g}) or `critic_only_updates` "
        f"(now {c.critic_only_updates}), or lower `actor_lr` (now {c.actor_lr:g})"
    )


def residual_without_gain(d: Diagnosis, c: LearningConfig) -> str | None:
    """The residual grew large and nothing came of it."""
    compared = d.episodes >= COMPARED_EPISODES and not early(d) and not c.rlpd
    if not (compared and d.residual_ratio >= LARGE_RESIDUAL and d.success_rate < GOOD_SUCCESS):
        return None
    if not 0.0 <= _success_drop(d) < SUCCESS_DROP:
        return None
    return (
        f"|residual| has grown to {d.residual_ratio:.0%} of its bound and success "
        f"({d.success_rate:.0%}) is no better than at the start ({d.success_rate_start:.0%}): it drifts "
        f"where critics have seen little. Raise `residual_penalty` (now {c.residual_penalty:g}) or "
        f"`utd` (now {c.utd:g}), or lower `actor_lr` (now {c.actor_lr:g})"
    )


def residual_saturates(d: Diagnosis, c: LearningConfig) -> str | None:
    """A residual at its bound has no gradient and acts as bang-bang control."""
    joints = d.saturated_joints >= SATURATED_JOINTS
    if c.rlpd or early(d) or not (joints or d.saturated_share >= SATURATED_SHARE):
        return None
    share, what = (d.saturated_joints, "joints") if joints else (d.saturated_share, "its components")
    return (
        f"residual saturates on {share:.0%} of {what}: it is pressed against its bound, where tanh "
        f"passes no gradient. Raise `residual_scale` (now {c.residual_scale:g}) if larger corrections "
        f"are needed, else lower `actor_lr` (now {c.actor_lr:g}) or raise `residual_penalty` (now "
        f"{c.residual_penalty:g})"
    )


def residual_idle(d: Diagnosis, c: LearningConfig) -> str | None:
    """The actor has been updated for long and still is the base policy."""
    if c.rlpd or d.actor_updates < IDLE_ACTOR_UPDATES or not d.residual_ratio < IDLE_RESIDUAL:
        return None
    return (
        f"after {d.actor_updates} actor updates |residual| is {d.residual_ratio:.1%} of its bound: the "
        "actor still is the base policy, because critics prefer no action or it learns too slowly. "
        f"Raise `actor_lr` (now {c.actor_lr:g}) or `exploration_std` (now {c.exploration_std:g}), or "
        f"lower `residual_penalty` (now {c.residual_penalty:g})"
    )


def noise_drowns_residual(d: Diagnosis, c: LearningConfig) -> str | None:
    """Exploration noise as large as what it perturbs; silent while the bound still grows."""
    grown = d.residual_scale >= 0.999 * c.largest_residual
    if early(d) or not grown or not d.exploration_std >= NOISE_TO_SCALE * d.residual_scale:
        return None
    return (
        f"exploration noise ({d.exploration_std:.2f}) is as large as the residual scale "
        f"({d.residual_scale:.2f}): the residual is noise. Lower `exploration_std`"
    )


def learner_lags(d: Diagnosis, c: LearningConfig) -> str | None:
    """Updates take longer than the steps they are owed for; a paused learner lags on purpose."""
    if early(d) or d.phase is not LearnerPhase.TRAINING or not d.update_lag >= LAG_STEPS:
        return None
    return (
        f"the learner is {d.update_lag:.0f} environment steps behind: the robot waits for it, or acts "
        f"with an old actor. Lower `utd` (now {c.utd:g}) or `critic_ensemble` (now "
        f"{c.critic_ensemble}), or use a GPU (`device`)"
    )


Rule = Callable[[Diagnosis, LearningConfig], str | None]

RULES: tuple[Rule, ...] = (  # the gravest first
    not_finite,
    no_success,
    q_out_of_range,
    success_falls,
    residual_saturates,
    residual_without_gain,
    critics_overestimate,
    critics_underestimate,
    q_uncorrelated,
    spread_vanished,
    spread_huge,
    units_dead,
    gradient_clipped,
    noise_drowns_residual,
    residual_idle,
    no_demonstrations,
    learner_lags,
)


def advise(diagnosis: Diagnosis, config: LearningConfig) -> list[Advice]:
    """The warnings that apply at this moment, the gravest first; empty when all is well."""
    found = ((rule.__name__, rule(diagnosis, config)) for rule in RULES)
    return [Advice(key, sentence) for key, sentence in found if sentence is not None]
