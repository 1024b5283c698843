"""What a blind evaluation hides from the operator: whatever only a residual causes."""

import re

from resfit_ros.core.types import Reason

RESIDUAL_REASONS = Reason.RESIDUAL_LIMIT | Reason.RAMP  # of a base policy alone there are none
CLAMP_FIGURES = ("actions_clamped", "largest_clamp")  # a residual is clamped more often than no residual
_NAMES = "|".join(reason.name.lower() for reason in RESIDUAL_REASONS)


def without_residual(reasons: Reason) -> Reason:
    """The reasons that a base policy alone can have, too."""
    return reasons & ~RESIDUAL_REASONS


def masked(sentence: str) -> str:
    """The safety filter's sentence as it reads for a base policy alone: "armed: ramp" becomes "armed"."""
    # A phrase in its place would tell as much as the name itself.
    rest = re.sub(rf"\b(?:{_NAMES})\b(?:, )?", "", sentence)
    return sentence if rest == sentence else re.sub(r"(?:: |, )(?=$| ?\()", "", rest).strip()
