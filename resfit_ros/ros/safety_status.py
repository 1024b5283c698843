"""What a safety filter says of itself: as a message to plot, and in words."""

from resfit_ros.core.safety import SafetyFilter
from resfit_ros.core.types import Reason
from resfit_ros.msg import SafetyStatus
from resfit_ros.ros.convert import header


def safety_status(f: SafetyFilter, reasons: Reason, now_ns: int, stamp_ns: int) -> SafetyStatus:
    """now_ns: the steady clock, for ages; stamp_ns: the ROS clock."""
    c = f.counters

    def age(received_ns: int | None) -> float:
        return float("nan") if received_ns is None else (now_ns - received_ns) * 1e-9

    return SafetyStatus(
        header=header(stamp_ns),
        state=int(f.state),
        reasons=int(reasons),
        estopped=f.estopped,
        actions_accepted=c.accepted,
        actions_rejected=c.rejected,
        actions_clamped=c.clamped,
        actions_dropped=c.dropped,
        actions_foreign=c.foreign,
        actions_bad_stamp=c.bad_stamps,
        ticks_missed=f.ticks.missed,
        clock_jumps=f.clock.jumps,
        intervention_steps=c.intervention_steps,
        action_age_s=age(f.action_received_ns),
        state_age_s=age(f.state_received_ns),
        largest_clamp=f.largest_clamp,
        speed_scale=f.limiter.speed_scale,
    )


def safety_figures(f: SafetyFilter, reasons: Reason) -> dict[str, object]:
    """Key figures for /diagnostics."""
    c = f.counters
    return {
        "state": f.state.name,
        "reasons": reasons.words or "none",
        "accepted": c.accepted,
        "rejected": c.rejected,
        "rejected: foreign source": c.foreign,
        "rejected: bad stamp": c.bad_stamps,
        "clamped": c.clamped,
        "dropped": c.dropped,
        "ticks missed": f.ticks.missed,
        "clock jumps": f.clock.jumps,
        "intervention steps": c.intervention_steps,
        "holds asked for": f.requests.words or "none",
        "body": f.guard_words or "clear",
        "passed on from the controller": getattr(f, "passed_on", 0),
    }
