"""What an evaluation says, in sentences; bad news as plainly as good news."""

from typing import Any

NAMES = {"base": "base policy", "finetuned": "base + residual", "against": "the other checkpoint"}
NAMES_OF_TWO = {"against": "checkpoint B", "finetuned": "checkpoint A"}
DIFFERENCE, NO_DIFFERENCE = "difference", "no_difference"


def name_of(result: dict[str, Any], arm: str) -> str:
    """How people call an arm."""
    return (NAMES_OF_TWO if "against" in result["arms"] else NAMES).get(arm, arm)


def percent(rate: float | None) -> str:
    """A rate in whole per cent."""
    return "-" if rate is None else f"{100 * rate:.0f} %"


def points(difference: float | None) -> str:
    """A difference of rates in percentage points, signed."""
    return "-" if difference is None else f"{round(100 * difference):+d}".replace("-", "−")


def p_text(p_value: float) -> str:
    """A p-value with two digits."""
    return "< 0.0001" if p_value < 1e-4 else f"= {p_value:.2g}"


def headline(result: dict[str, Any]) -> str:
    """The answer in one sentence."""
    if len(result["arms"]) < 2:
        ((arm, figures),) = result["arms"].items()
        counts = f"{figures['successes']} of {figures['episodes']} episodes"
        return f"The {name_of(result, arm)} succeeded in {counts}."
    reference, tried = (name_of(result, arm) for arm in result["arms"])
    estimate = result["difference"]["estimate"]
    if estimate is None:
        return f"No pair of episodes was finished: nothing can be said of {tried} against {reference}."
    sequential = result["sequential"]
    size = f"{abs(round(100 * estimate))} percentage points"
    if sequential["verdict"] == DIFFERENCE and estimate > 0:
        return f"Better: {tried} succeeds more often than {reference}, by {size} here."
    if sequential["verdict"] == DIFFERENCE and estimate < 0:
        return f"Worse: {tried} succeeds less often than {reference}, by {size} here."
    if sequential["verdict"] == NO_DIFFERENCE:
        limit = round(100 * sequential["min_difference"])
        ruled_out = f"No difference of {limit} percentage points or more"
        return f"{ruled_out}: {tried} and {reference} succeed about as often."
    return (
        f"Not shown: these episodes do not show that {tried} succeeds more, or less, often than {reference}."
    )


def sentences(result: dict[str, Any]) -> list[str]:
    """What supports the headline, and how far it can be trusted."""
    said = [_rates(result, arm) for arm in result["arms"]]
    if "sequential" in result and result["difference"]["estimate"] is not None:
        said += _comparison(result)
    planned, run = result.get("episodes_planned", 0), result.get("episodes_run", 0)
    if "ended_words" in result:
        saved = f", {planned - run} fewer than planned" if planned > run else ""
        said.append(f"{run} episodes were run{saved}: {result['ended_words']}.")
    return said + _blemishes(result)


def _rates(result: dict[str, Any], arm: str) -> str:
    figures = result["arms"][arm]
    low, high = figures["wilson_95"]
    name = name_of(result, arm)
    return (
        f"{name[0].upper()}{name[1:]}: {figures['successes']} of {figures['episodes']} episodes "
        f"({percent(figures['success_rate'])}, 95 % interval {percent(low)} to {percent(high)})."
    )


def _comparison(result: dict[str, Any]) -> list[str]:
    sequential, difference = result["sequential"], result["difference"]
    low, high = sequential["interval"]
    level = f"{100 * (1 - sequential['alpha']):g} %"
    valid = (
        f"Difference {points(difference['estimate'])} percentage points; valid however often one looked: "
        f"{level} interval {points(low)} to {points(high)}, p {p_text(sequential['p_value'])}."
    )
    low, high = difference["interval_95"]
    fixed = (
        f"For a number of episodes fixed beforehand: {difference['method']} {points(low)} to {points(high)}, "
        f"{result['test']} p {p_text(result['p_value'])}"
    )
    early = " (not exact here, as the end depended on the outcome)." if result.get("stopped_early") else "."
    return [valid, fixed + early]


def _blemishes(result: dict[str, Any]) -> list[str]:
    said = []
    for arm, figures in result["arms"].items():
        name = name_of(result, arm)
        if figures["helped"]:
            said.append(
                f"A person took over in {figures['helped']} episodes of {name}; they count as failures."
            )
        if figures["aborted"]:
            said.append(
                f"{figures['aborted']} episodes of {name} were aborted and run again; nothing counts of them."
            )
        if figures["void"]:
            said.append(
                f"{figures['void']} episodes of {name} were not acted by it throughout; they are left out."
            )
    if not result.get("matched", True):
        said.append("The initial scenes were set up by hand and not matched.")
    return said
