"""How an episode of a dataset ended, as far as its columns tell."""

import numpy as np

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.types import Outcome
from resfit_ros.data.formats.options import ImportOptions

SUCCESS_COLUMNS = ("next.success", "success", "is_success", "is_episode_successful")
REWARD_COLUMNS = ("next.reward", "reward", "rewards")


def outcome_of(
    options: ImportOptions, successes: np.ndarray | None, rewards: np.ndarray | None, where: str
) -> Outcome:
    """The outcome that options give, else that a column of successes or of rewards 0 and 1 tells.

    An episode without success counts as TIMEOUT: a dataset does not say that nothing could have followed.
    Raises ConfigError where nothing tells.
    """
    if options.outcome != "auto":
        return Outcome[options.outcome.upper()]
    if successes is not None:
        return Outcome.SUCCESS if np.any(successes) else Outcome.TIMEOUT
    if rewards is not None and np.isin(rewards, (0, 1)).all():
        return Outcome.SUCCESS if np.any(rewards) else Outcome.TIMEOUT
    lacking = "no column tells success" if rewards is None else "its rewards are not 0 and 1"
    raise ConfigError(
        f"{where}: {lacking}, so that it is unknown how its episodes ended; give outcome=success if they are "
        "demonstrations that succeed"
    )
