"""`resfit sim-train`: several seeds in simulation, in parallel processes, without ROS."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.table import Table

from resfit_ros.cli.console import console, progress_bar, reporting_errors
from resfit_ros.core.errors import ConfigError


def sim_train(
    out: Annotated[Path, typer.Option(help="Folder that takes one directory per seed.")],
    seeds: Annotated[str, typer.Option(help="Seeds, e.g. 0,1,2.")] = "",
    seed_count: Annotated[int | None, typer.Option(min=1, help="Seeds 0 to N - 1, instead.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes at a time, of one thread each.")] = 2,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Environment steps, instead of the configuration's.")
    ] = None,
    config: Annotated[
        str, typer.Option("--config", "-c", help="A YAML file or the name of a shipped configuration.")
    ] = "bimanual_lift",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A learning setting, KEY=VALUE; may be repeated.")
    ] = None,
    eval_every: Annotated[int, typer.Option(min=1, help="Environment steps between evaluations.")] = 2500,
    eval_episodes: Annotated[int, typer.Option(min=1, help="Episodes per evaluation.")] = 50,
    policy: Annotated[
        Path | None, typer.Option(help="Base policy directory for all seeds; none: each trains its own.")
    ] = None,
) -> None:
    """Train in simulation without ROS, several seeds at once; finished seeds are not run again.

    Demonstrations, base policy, fine-tuning and evaluation are those of the graph in lockstep.
    """
    with reporting_errors():
        overrides = parse_settings(settings or [])
        if steps is not None:
            if "total_steps" in overrides:
                raise ConfigError("--steps and --set total_steps are the same setting; give one")
            overrides["total_steps"] = steps
        chosen = parse_seeds(seeds, seed_count)
        _run(out, chosen, jobs, config, overrides, eval_every, eval_episodes, policy)


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts, the values as YAML scalars. Raises ConfigError naming the text."""
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"--set {text}: expected KEY=VALUE, e.g. --set utd=2")
        if key in settings:
            raise ConfigError(f"--set {key}: given twice; give it once")
        settings[key] = _scalar(value, text)
    return settings


def _scalar(value: str, text: str) -> bool | int | float | str:
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(
            f"--set {text}: the value is not a YAML scalar; write KEY=VALUE with one number, text, true or false"
        ) from None
    if not isinstance(parsed, bool | int | float | str):
        raise ConfigError(f"--set {text}: expected one number, text, true or false; write KEY=VALUE")
    if isinstance(parsed, str):  # YAML takes 1e-3, without a point, for text
        try:
            return float(parsed)
        except ValueError:
            return parsed
    return parsed


def parse_seeds(text: str, count: int | None) -> list[int]:
    """The seeds asked for; seed 0 when nothing is. Raises ConfigError naming what is wrong."""
    if text and count is not None:
        raise ConfigError("--seeds and --seed-count were both given; give one")
    if not text:
        return list(range(count or 1))
    words = [word.strip() for word in text.split(",")]
    wrong = [word for word in words if not (word.isascii() and word.isdigit())]
    if wrong:
        raise ConfigError(f"--seeds {text}: '{wrong[0]}' is not a seed; give whole numbers, e.g. 0,1,2")
    seeds = [int(word) for word in words]
    if len(set(seeds)) != len(seeds):
        raise ConfigError(f"--seeds {text}: a seed is listed twice; name each once")
    return seeds


def _run(
    out: Path,
    seeds: Sequence[int],
    parallel: int,
    config_name: str,
    overrides: dict[str, Any],
    eval_every: int,
    eval_episodes: int,
    policy: Path | None,
) -> None:
    from resfit_ros.bringup import load_config, with_timing
    from resfit_ros.paths import find_config
    from resfit_ros.policies.chunk_policy import load_normaliser
    from resfit_ros.runner.job import Job
    from resfit_ros.runner.sweep import JobsFailed, run_jobs

    config = with_timing(load_config(find_config(config_name)), "lockstep")
    if policy is not None:
        load_normaliser(policy)  # it must be there: a given one is not trained
    jobs = [
        Job(
            name="sim-train",
            seed=seed,
            out_dir=out / f"seed_{seed}",
            overrides=overrides,
            base_policy=policy,
            eval_every=eval_every,
            eval_episodes=eval_episodes,
        )
        for seed in seeds
    ]
    try:
        with progress_bar("sim-train") as on_progress:
            results = run_jobs(jobs, config, parallel, _overall(on_progress, seeds))
    except JobsFailed as error:
        print_results(error.results)
        raise
    print_results(results)
    console.print(f"results, checkpoints and base policies are in {out}")


def _overall(
    on_progress: Callable[[float, float, str], None], seeds: Sequence[int]
) -> Callable[[Any, float, float, str], None]:
    """Progress of all seeds as one bar of 100 per seed: first what comes before learning, then steps."""
    shares, said = dict.fromkeys(seeds, 0.0), {}

    def update(job: Any, done: float, total: float, words: str) -> None:
        learning = words.startswith(("success", "evaluating"))
        if learning:
            shares[job.seed] = max(shares[job.seed], 100.0 * done / total)
        said[job.seed] = f"seed {job.seed}: {words}"
        on_progress(sum(shares.values()), 100.0 * len(seeds), " | ".join(said[s] for s in sorted(said)))

    return update


def print_results(results: Sequence[dict[str, Any]]) -> None:
    """Success before and after, with its 95 % interval, per seed."""
    from resfit_ros.core.intervals import wilson_interval

    if not results:
        return
    table = Table(title="residual fine-tuning in simulation (scenes not seen in training)")
    for name in ("seed", "base", "fine-tuned", "95 % interval", "env steps", "updates", "wall time"):
        table.add_column(name, justify="right")
    for result in results:
        base, final = result["evaluations"][0], result["evaluations"][-1]
        low, high = wilson_interval(final["successes"], final["episodes"])
        table.add_row(
            str(result["seed"]),
            f"{base['successes'] / base['episodes']:.0%}",
            f"{final['successes'] / final['episodes']:.0%}",
            f"{low:.0%} to {high:.0%}",
            str(final["env_steps"]),
            str(final["critic_updates"]),
            f"{result['total_wall_s']:.0f} s",
        )
    console.print(table)
