"""One training run of a sweep: what is asked for, and the files that say whether it is done."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resfit_ros.bringup import RunConfig, config_sha256
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.run_layout import POLICY

JOB, RESULT = "job.json", "result.json"
LOCK = f".{POLICY}.lock"
Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A seed with learning settings that differ from the configuration's, and where it is written.

    overrides: settings of LearningConfig. base_policy: directory of the base policy, trained there
    when it is missing; None: `out_dir`/base_policy. demonstrations: whether the learner gets them
    (the base policy is trained on them either way).
    """

    name: str
    seed: int
    out_dir: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)
    base_policy: Path | None = None
    demonstrations: bool = True
    eval_every: int = 2500  # environment steps
    eval_episodes: int = 50

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"job '{self.name}': seed must be at least 0, got {self.seed}")
        for name in ("eval_every", "eval_episodes"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"job '{self.name}': {name} must be at least 1, got {value}")

    @property
    def policy_dir(self) -> Path:
        """Where the base policy lies, or will."""
        return self.base_policy or self.out_dir / POLICY

    def identity(self, config: RunConfig) -> dict[str, Any]:
        """Everything the result depends on but the base policy: plain JSON values."""
        return {
            "seed": self.seed,
            "overrides": dict(self.overrides),
            "config_sha256": config_sha256(config),
            "demonstrations": self.demonstrations,
            "eval_every": self.eval_every,
            "eval_episodes": self.eval_episodes,
        }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}); remove it and train anew") from None
    if not isinstance(values, dict):
        raise DataError(f"{path}: damaged (no JSON object); remove it and train anew")
    return values


def finished_result(job: Job, config: RunConfig) -> Result | None:
    """The result of a job that is done; None: it has to be run, or run anew. Writes nothing.

    Raises ConfigError when `out_dir` holds something else, naming what differs.
    """
    out = job.out_dir
    if not out.exists():
        return None
    if not out.is_dir():
        raise ConfigError(f"{out}: not a directory; choose another one")
    if not (out / JOB).is_file():
        odd = sorted(p.name for p in out.iterdir() if p.name != POLICY and not p.name.startswith("."))
        if odd:
            raise ConfigError(f"{out}: holds '{odd[0]}' and no {JOB}; choose another directory")
        return None
    _require_same(job, config, _read_json(out / JOB))
    if not (out / RESULT).is_file():
        return None
    result = _read_json(out / RESULT)
    _require_same_policy(job, result)
    return result


def _require_same(job: Job, config: RunConfig, theirs: Mapping[str, Any]) -> None:
    ours = json.loads(json.dumps(job.identity(config)))
    for key, wanted in ours.items():
        found = theirs.get(key)
        if found != wanted:
            raise ConfigError(
                f"{job.out_dir}: a run with {key} {found} is there, now asked for: {wanted}; choose "
                "another directory or remove it"
            )


def _require_same_policy(job: Job, result: Result) -> None:
    from resfit_ros.policies.chunk_policy import policy_sha256  # torch: only where it is needed

    if not job.policy_dir.is_dir():
        return
    now = policy_sha256(job.policy_dir)
    if result["base_policy_sha256"] != now:
        raise ConfigError(
            f"{job.out_dir}: its result is of base policy {result['base_policy_sha256'][:12]}, but "
            f"{job.policy_dir} holds {now[:12]}; choose another directory or remove it"
        )
