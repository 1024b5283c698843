"""What an evaluation compares, so that somebody else can tell, and repeat it."""

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from resfit_ros import __version__
from resfit_ros.bringup import RunConfig, config_sha256
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.run_layout import EVALUATION
from resfit_ros.data.bag_directory import next_episode_id
from resfit_ros.learning.actor_record import read_actor
from resfit_ros.learning.blind_record import BlindRecord, is_unfinished
from resfit_ros.learning.hashes import sha256
from resfit_ros.learning.weights import ACTOR

BAGS = "bags"  # beside evaluation.json
GIT_TIMEOUT_S = 5.0


def newest_checkpoint(path: Path | None, extractor: str = "") -> Path | None:
    """The checkpoint itself where a folder of them is given: a resumed evaluation must find the same one.

    An exported actor is one file. Raises DataError when there is none.
    """
    return None if path is None else read_actor(path, extractor).path.resolve()


def free_for(out: Path) -> int:
    """Id of the next episode in `out`, a new directory or one with an unfinished evaluation.

    Raises ConfigError where there is anything else.
    """
    result_path = out / EVALUATION
    if is_unfinished(result_path):
        return max(BlindRecord.resume(result_path).last_episode_id + 1, next_episode_id(out / BAGS))
    if result_path.exists():
        raise ConfigError(f"{result_path}: is there already; choose another directory")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: not empty; choose another directory or remove it")
    return 1


def setup_of(
    config: RunConfig,
    policy: str | None,
    policy_sha256: str,
    checkpoint: Path | None,
    against: Path | None,
    simulated: bool,
    command: str = "",
) -> dict[str, Any]:
    """Configuration, base policy and checkpoints with their hashes, and where this was run; plain JSON."""
    return {
        "config": str(config.path),
        "config_sha256": config_sha256(config),
        "policy": policy or "existing controller",
        "policy_sha256": policy_sha256,
        "checkpoint": _checkpoint(checkpoint),
        "against": _checkpoint(against),
        "simulated": simulated,
        "timing": str(config.robot.get("timing", "")),
        "joint_names": list(config.joint_names),
        "version": __version__,
        "commit": commit(),
        "begun": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": command or this_command(),
    }


def _checkpoint(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    file = path if path.is_file() else path / ACTOR
    return {"path": str(path), "actor_sha256": sha256(file.read_bytes())}


def this_command() -> str:
    """The command line of this process, to be run again."""
    name = Path(sys.argv[0]).name
    words = ["resfit" if name in ("__main__.py", "resfit") else name, *sys.argv[1:]]
    return shlex.join(words)


def commit() -> str:
    """Commit of the source tree that runs, '+' where it was changed since; empty where it is installed."""
    here = Path(__file__).resolve().parents[1] / "__init__.py"
    # An installed copy may lie in somebody else's repository.
    if _git(here.parent, "ls-files", "--error-unmatch", str(here)) is None:
        return ""
    hash_of_head = _git(here.parent, "rev-parse", "--short=12", "HEAD")
    if not hash_of_head:
        return ""
    return hash_of_head + ("+" if _git(here.parent, "status", "--porcelain", "--untracked-files=no") else "")


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
