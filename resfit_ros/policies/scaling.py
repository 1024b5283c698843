"""Where the scaling of states and actions comes from, for any base policy."""

import json
from collections.abc import Sequence
from pathlib import Path

from resfit_ros.core.errors import ConfigError, DataError, MismatchError, ResfitError
from resfit_ros.core.joints import joint_difference
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Segment
from resfit_ros.core.whole_file import write_json
from resfit_ros.learning.bc import fit_normaliser
from resfit_ros.policies.protocol import BasePolicy

NORMALISER = "normaliser.json"  # in a run directory


def read_normaliser(path: Path) -> Normaliser:
    """A scaling file. Raises DataError naming it."""
    try:
        return Normaliser.from_dict(json.loads(path.read_text()))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a scaling file") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a scaling file ({error})") from None
    except ResfitError as error:
        raise DataError(f"{path}: {error}") from None


def write_normaliser(path: Path, normaliser: Normaliser) -> None:
    """Whole or not at all."""
    write_json(path, normaliser.to_dict())


def scaling_for(
    policy: BasePolicy | None,
    run_dir: Path,
    given: str,
    demonstrations: Sequence[Segment],
    joint_names: Sequence[str],
    state_dim: int,
    min_action_range: float,
) -> Normaliser:
    """The scaling a run learns in, written to its directory; a resumed run keeps its own.

    From, in this order: the file `given`; the built-in policy's own; the run directory; a fit to the
    demonstrations. Raises ConfigError where there is none of these, MismatchError where the run was
    begun with another one.
    """
    kept = run_dir / NORMALISER
    own = getattr(policy, "normaliser", None)
    if given:
        normaliser = read_normaliser(Path(given))
    elif own is not None:
        normaliser = own
    elif kept.is_file():
        normaliser = read_normaliser(kept)
    elif demonstrations:
        normaliser = fit_normaliser(demonstrations, joint_names, min_action_range)
    else:
        raise ConfigError(
            "nothing tells the range of the joints' motion, in which the residual is bounded: give "
            "demonstrations (demo_dir, --demos), or a scaling file (normaliser_path)"
        )
    _require_fit(normaliser, joint_names, state_dim, given or str(kept))
    if kept.is_file() and read_normaliser(kept).sha256 != normaliser.sha256:
        raise MismatchError(
            f"{kept}: this run was begun with scaling {read_normaliser(kept).sha256[:12]}, now it is "
            f"{normaliser.sha256[:12]}; use the base policy it was begun with, or another run directory"
        )
    if not kept.is_file():
        run_dir.mkdir(parents=True, exist_ok=True)
        write_normaliser(kept, normaliser)
    return normaliser


def _require_fit(normaliser: Normaliser, joint_names: Sequence[str], state_dim: int, where: str) -> None:
    difference = joint_difference(normaliser.joint_names, joint_names)
    if difference:
        raise ConfigError(f"{where}: the scaling is of other joints: {difference}")
    if normaliser.state_dim != state_dim:
        raise ConfigError(
            f"{where}: the scaling is of a state of {normaliser.state_dim} numbers, but the configured state "
            f"layout gives {state_dim}; check the 'state' entries"
        )
