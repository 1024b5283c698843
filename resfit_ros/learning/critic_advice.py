"""Rules about critics and networks, see `advice.py`: each answers a sentence, or None."""

from collections.abc import Iterable

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.learning.diagnostics import Diagnosis

# Twice the horizon of the running averages of training metrics (100 updates).
MIN_ACTOR_UPDATES = 200
# Q and return of fewer episodes differ by chance: by 0.22 over 14 of them, in a run that learnt.
CALIBRATED_EPISODES = 40
# Shares of the range of returns. Over 40 episodes and more, Q was between 0.03 below and 0.10 above
# the return in runs that learnt, and rose to 0.20-0.25 above in runs that failed. Timeouts count as
# zero although their value is bootstrapped, so that Q must be twice the return as well.
OVERESTIMATION, OVERESTIMATION_RATIO = 0.15, 2.0
UNDERESTIMATION, OUT_OF_RANGE = 0.25, 0.1
# Values travel back from the success by n-step targets and Polyak averaging: they start too low.
UNDERESTIMATION_UPDATES = 10_000
# 0.5 and more in runs that learnt, 0.1-0.57 in those that did not.
Q_CORRELATION = 0.3
# Spread / mean Q: 1.2-4 % is usual. Huge is a share of the range of returns: 0.01-0.03 is usual.
VANISHED_SPREAD, HUGE_SPREAD, SPREAD_MIN_Q = 0.002, 0.15, 0.05
# Up to 0.35 in the deeper layer after 44,000 updates of runs that learnt.
DEAD_SHARE = 0.5
# Of max_grad_norm, so that a norm taken after clipping counts as well; 0.05 / 10 is usual.
CLIPPED = 0.99


def early(d: Diagnosis) -> bool:
    """Too few actor updates to judge the actor, or the critics it is judged by."""
    return d.actor_updates < MIN_ACTOR_UPDATES


def _return_range(c: LearningConfig) -> float:
    return c.value_max - c.value_min


def _calibrated(d: Diagnosis) -> bool:
    return d.q_episodes >= CALIBRATED_EPISODES and not early(d)


def not_finite(d: Diagnosis, c: LearningConfig) -> str | None:
    """Training produced infinities or not-a-numbers."""
    if not d.non_finite:
        return None
    return (
        f"not finite: {', '.join(d.non_finite)}. Training has diverged and will not recover: go back to "
        f"an older checkpoint with a lower `critic_lr` (now {c.critic_lr:g}) or `max_grad_norm` (now "
        f"{c.max_grad_norm:g}), and look for observations that are not finite"
    )


def critics_overestimate(d: Diagnosis, c: LearningConfig) -> str | None:
    """Critics promise what episodes do not return."""
    promised = d.return_observed + d.q_bias
    twice = promised - c.value_min >= OVERESTIMATION_RATIO * (d.return_observed - c.value_min)
    if not (_calibrated(d) and twice and d.q_bias >= OVERESTIMATION * _return_range(c)):
        return None
    bound = f"lower `discount` (now {c.discount:g})" if c.clip_targets else "set `clip_targets`"
    return (
        f"critics promise {promised:.2f} where episodes returned {d.return_observed:.2f}: "
        "overestimation, which the actor exploits. Raise `critic_subset` (now "
        f"{c.critic_subset} of {c.critic_ensemble}), {bound} or raise `critic_only_updates` (now "
        f"{c.critic_only_updates})"
    )


def critics_underestimate(d: Diagnosis, c: LearningConfig) -> str | None:
    """Critics expect less than episodes return: the minimum weighs too much, or values travel slowly."""
    late = d.critic_updates >= UNDERESTIMATION_UPDATES and _calibrated(d)
    if not (late and d.q_bias <= -UNDERESTIMATION * _return_range(c)):
        return None
    return (
        f"critics expect {d.return_observed + d.q_bias:.2f} where episodes returned "
        f"{d.return_observed:.2f}: too pessimistic, or behind. Lower `critic_subset` (now "
        f"{c.critic_subset}), or raise `n_step` (now {c.n_step}) or `polyak` (now {c.polyak:g})"
    )


def q_out_of_range(d: Diagnosis, c: LearningConfig) -> str | None:
    """Mean Q beyond what any episode can return: bootstrapping feeds on itself."""
    slack = OUT_OF_RANGE * _return_range(c)
    if early(d) or not (d.q_mean >= c.value_max + slack or d.q_mean <= c.value_min - slack):
        return None
    remedy = (
        f"Lower `critic_lr` (now {c.critic_lr:g}) or `polyak` (now {c.polyak:g})"
        if c.clip_targets
        else "Set `clip_targets`"
    )
    return (
        f"mean Q is {d.q_mean:.2f}, outside of the returns that are possible ({c.value_min:g} to "
        f"{c.value_max:g}, `value_min` to `value_max`): critics diverge. {remedy}"
    )


def q_uncorrelated(d: Diagnosis, c: LearningConfig) -> str | None:
    """Critics that do not know where success is near give the actor no direction."""
    if not _calibrated(d) or not d.q_correlation <= Q_CORRELATION:
        return None
    return (
        f"Q and observed returns hardly correlate ({d.q_correlation:.2f}): critics cannot tell good "
        "states from bad ones. Check that what decides success is in the state or in the images "
        f"(`use_images`), and raise `utd` (now {c.utd:g}) or `hidden_width` (now {c.hidden_width})"
    )


def spread_vanished(d: Diagnosis, c: LearningConfig) -> str | None:
    """Members that agree perfectly are one critic; where Q is near zero they agree rightly."""
    if early(d) or c.critic_ensemble < 2 or not d.q_mean >= SPREAD_MIN_Q * _return_range(c):
        return None
    if not d.q_spread <= VANISHED_SPREAD * d.q_mean:
        return None
    return (
        f"critics agree to {d.q_spread:.5f} at a mean Q of {d.q_mean:.2f}: the ensemble acts as one "
        f"critic and its minimum guards against nothing. Lower `utd` (now {c.utd:g}) or `polyak` (now "
        f"{c.polyak:g}), or raise `critic_ensemble` (now {c.critic_ensemble})"
    )


def spread_huge(d: Diagnosis, c: LearningConfig) -> str | None:
    """Members that disagree: their minimum is noise."""
    if early(d) or not d.q_spread >= HUGE_SPREAD * _return_range(c):
        return None
    return (
        f"critics disagree by {d.q_spread:.2f} at a mean Q of {d.q_mean:.2f}: the data does not "
        f"determine them, and targets are noise. Lower `critic_lr` (now {c.critic_lr:g}) or "
        f"`critic_subset` (now {c.critic_subset}), or raise `warmup_steps` (now {c.warmup_steps})"
    )


def _learning_rates(networks: Iterable[str]) -> str:
    return " and ".join(f"`{name}_lr`" for name in networks)


def units_dead(d: Diagnosis, c: LearningConfig) -> str | None:
    """Networks that lost most of their units cannot fit what is new."""
    shares = {"critic": d.dead_share_critic, "actor": d.dead_share_actor}
    dead = {name: share for name, share in shares.items() if share >= DEAD_SHARE}
    if early(d) or not dead:
        return None
    seen = " and ".join(f"{share:.0%} of the {name} units" for name, share in dead.items())
    norm = "" if c.layer_norm else ", set `layer_norm`"
    return (
        f"{seen} are dead (zero for a whole batch): little is left that can learn. Restart with a lower "
        f"{_learning_rates(dead)}{norm} or lower `utd` (now {c.utd:g})"
    )


def gradient_clipped(d: Diagnosis, c: LearningConfig) -> str | None:
    """A mean norm at the clip: the clip, not the loss, decides the size of most steps."""
    norms = {"critic": d.critic_grad_norm, "actor": d.actor_grad_norm}
    clipped = {name: norm for name, norm in norms.items() if norm >= CLIPPED * c.max_grad_norm}
    if early(d) or not clipped:
        return None
    seen = " and ".join(f"{name} gradient (norm {norm:.1f})" for name, norm in clipped.items())
    return (
        f"{seen} clipped at {c.max_grad_norm:g} all the time: errors are far larger than usual. Check "
        f"the scale of observations and rewards, then lower {_learning_rates(clipped)} or raise "
        "`max_grad_norm`"
    )
