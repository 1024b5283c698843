"""The graphs people run: which nodes each needs, and how the run directory is wired into them."""

from pathlib import Path
from typing import Any

from resfit_ros.bringup import CONTROL_NODES, NodeSpec, RunConfig, config_sha256, describe
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameter_groups import CHUNKS, TOPIC
from resfit_ros.core.parameters import BASE_ALONE
from resfit_ros.core.run_layout import FINETUNE_BAGS
from resfit_ros.paths import config_dir
from resfit_ros.policies.reference import absolute

Overrides = dict[str, dict[str, Any]]
Policy = Path | str | None  # what parameter `policy` takes; None: an existing controller, or as configured

# The expert decides anew at every step.
STEP_BY_STEP = {"execute_steps": 1, "prefetch_steps": 0, "blend_steps": 0, "temporal_ensembling": False}

# Scene seeds of the phases must not meet: evaluation scenes are never seen in training.
RECORD_SCENES, FINETUNE_SCENES, BASE_SCENES, FINAL_SCENES = 0, 100_000, 500_000, 700_000
SCENES_PER_SEED = 1_000_000
CAMERA_SETTINGS = ("camera_names", "image_width", "image_height")  # all others' are the aggregator's
CHUNK_SETTINGS = ("execute_steps", "prefetch_steps", "blend_steps", "temporal_ensembling", "ensemble_decay")
BASE_SETTINGS = ("base_source", "base_command_type", "base_timeout_s", "base_name")
TELEOP_SETTINGS = ("teleop", "teleop_command_type", "teleop_timeout_s")


def scenes(seed: int, first: int) -> int:
    """First scene seed of a phase for a run's seed."""
    return seed * SCENES_PER_SEED + first


def feature_extractor(config: RunConfig) -> str:
    """The file that image features come from: the residual node's, or else the learner's."""
    sections = (config.section(name) for name in ("residual", "learner", "robot"))
    return next((s["feature_extractor"] for s in sections if s.get("feature_extractor")), "")


def base_from_topic(config: RunConfig) -> bool:
    """Whether an existing controller takes the place of the node base_policy.

    Raises ConfigError where a node's section says otherwise than section 'robot': which nodes there are
    and where their topics lead depends on it.
    """
    source = config.robot.get("base_source", CHUNKS)
    for name in config.sections:
        theirs = config.section(name).get("base_source", source)
        if theirs != source:
            raise ConfigError(
                f"{config.path}, section '{name}': base_source is {theirs}, for the other nodes it is {source}; set it "
                "once, in section 'robot'"
            )
    return source == TOPIC


def base_policy_of(config: RunConfig, given: Policy = None) -> str:
    """What parameter `policy` gets: the one given, else the configuration's; empty with a controller.

    Raises ConfigError when neither names a policy.
    """
    if base_from_topic(config):
        if given:
            raise ConfigError(
                f"{config.path}: base_source is topic, so an existing controller is the base policy; leave "
                f"policy '{given}' out, or set base_source: chunks"
            )
        return ""
    text = str(given or config.section("base_policy").get("policy") or config.robot.get("policy") or "")
    if not text:
        raise ConfigError(
            f"{config.path}: no base policy: give one (--policy, policy:=), or set 'policy' in section "
            "'base_policy'"
        )
    return absolute(text)


def _control_nodes(config: RunConfig) -> tuple[str, ...]:
    control = tuple(n for n in CONTROL_NODES if n != "base_policy" or not base_from_topic(config))
    return (*control, "operator") if "operator" in config.sections else control


def joy_mapping(config: RunConfig) -> str:
    """The operator's mapping file: the configured one, a shipped one by name, gamepad where none is named.

    Raises ConfigError naming the shipped ones.
    """
    name = str(config.section("operator").get("mapping") or "gamepad")
    shipped = {p.stem: p for p in sorted((config_dir() / "joy").glob("*.yaml"))}
    path = Path(name) if Path(name).is_file() else shipped.get(name)
    if path is None:
        raise ConfigError(
            f"{config.path}, section 'operator': mapping '{name}': no such file; give a path or one of: "
            f"{', '.join(shipped)}"
        )
    return str(path.resolve())


def _with_robot(nodes: tuple[str, ...], simulate: bool) -> tuple[str, ...]:
    return (*nodes, "sim_robot") if simulate else nodes


def camera_settings(config: RunConfig) -> dict[str, Any]:
    """The aggregator's cameras, for whoever else handles its pictures."""
    return {k: v for k, v in config.parameters("aggregator").items() if k in CAMERA_SETTINGS}


def _describe(config: RunConfig, nodes: tuple[str, ...], overrides: Overrides) -> tuple[NodeSpec, ...]:
    if "sim_robot" not in nodes:  # a robot is armed by hand, whatever the configuration says
        overrides.setdefault("safety_filter", {})["auto_arm"] = False
    manager = overrides.setdefault("episode_manager", {})
    manager["wait_for_nodes"] = [n for n in nodes if n != "episode_manager"]
    overrides.setdefault("residual", {})["feature_extractor"] = feature_extractor(config)
    if "operator" in nodes:
        overrides["operator"] = {"mapping": joy_mapping(config)} | overrides.get("operator", {})
    if "recorder" in nodes:
        overrides["recorder"] = {"config_sha256": config_sha256(config)} | overrides.get("recorder", {})
    for name in ("base_policy", "learner", "recorder"):
        if name in nodes:
            overrides[name] = camera_settings(config) | overrides.get(name, {})
    specs = describe(config, nodes, overrides)
    for key in (*CHUNK_SETTINGS, *BASE_SETTINGS, *TELEOP_SETTINGS):
        used = {s.parameters[key] for s in specs if key in s.parameters}
        if len(used) > 1:
            raise ConfigError(
                f"{config.path}: {key} differs between nodes ({sorted(used)}); set it once, in section 'robot'"
            )
    return specs


def record_graph(
    config: RunConfig,
    bag_dir: Path,
    seed: int,
    first_episode_id: int = 1,
    successes: int = 0,
) -> tuple[NodeSpec, ...]:
    """The scripted expert in the place of the base policy, recorded; simulation only.

    successes: the recorder finishes after so many; 0: somebody else decides.
    """
    overrides: Overrides = {
        "base_policy": {"policy": f"expert:{seed}"} | STEP_BY_STEP,
        "residual": {"enabled": False, "base_source": CHUNKS} | STEP_BY_STEP,
        "safety_filter": {"base_source": CHUNKS},
        "episode_manager": {
            "auto_start": True,
            "scene_seed": scenes(seed, RECORD_SCENES),
            "first_episode_id": first_episode_id,
        },
        "recorder": {"bag_dir": str(bag_dir), "successes": successes},
    }
    return _describe(config, _with_robot((*CONTROL_NODES, "recorder"), True), overrides)


def finetune_graph(
    config: RunConfig,
    run_dir: Path,
    policy: Policy,
    demo_dir: Path | None,
    seed: int,
    first_episode_id: int = 1,
    simulate: bool = True,
    learner: dict[str, Any] | None = None,
) -> tuple[NodeSpec, ...]:
    """Base policy, residual, learner and recorder: learning while the robot works."""
    reference = base_policy_of(config, policy)
    chunking = config.parameters("base_policy")
    overrides: Overrides = {
        "base_policy": {"policy": reference},
        "residual": {
            "explore": True,
            "seed": seed,
            "exploration_correlation": config.section("learner").get("exploration_correlation", 0.8),
        },
        "learner": {
            "run_dir": str(run_dir),
            "policy": reference,
            "demo_dir": str(demo_dir) if demo_dir else "",
            "seed": seed,
            "pretrain_updates": 0,
        }
        | {k: chunking[k] for k in CHUNK_SETTINGS}
        | (learner or {}),
        "episode_manager": {
            "auto_start": True,
            "wait_for_learner": True,
            "scene_seed": scenes(seed, FINETUNE_SCENES) if simulate else -1,
            "first_episode_id": first_episode_id,
        },
        "recorder": {"bag_dir": str(run_dir / FINETUNE_BAGS)},
    }
    nodes = (*_control_nodes(config), "recorder", "learner")
    return _describe(config, _with_robot(nodes, simulate), overrides)


def pretrain_graph(
    config: RunConfig, run_dir: Path, policy: Policy, seed: int, updates: int, learner: dict[str, Any] | None = None
) -> tuple[NodeSpec, ...]:
    """The learner alone: its critics learn from bags that somebody plays, until none comes any more."""
    overrides: Overrides = {
        "learner": camera_settings(config)
        | {key: config.parameters("base_policy")[key] for key in CHUNK_SETTINGS}
        | {
            "run_dir": str(run_dir),
            "policy": base_policy_of(config, policy),
            "seed": seed,
            "pretrain_updates": updates,
            "exit_when_done": True,
        }
        | (learner or {})
    }
    return describe(config, ("learner",), overrides)


def evaluate_graph(
    config: RunConfig,
    policy: Policy,
    actor_path: Path | None,
    result_path: Path,
    bag_dir: Path | None,
    episodes: int,
    first_scene: int,
    seed: int,
    simulate: bool = True,
    against: Path | None = None,
    evaluator: dict[str, Any] | None = None,
    first_episode_id: int = 1,
) -> tuple[NodeSpec, ...]:
    """Base against base + residual, interleaved on the same scenes; base alone without an actor.

    against: another checkpoint in the place of the base policy alone. evaluator: further parameters of it. Without
    a simulation the scenes are a person's, so the episodes are not matched.
    """
    arms = ["against" if against else "base", "finetuned"] if actor_path else ["base"]
    contenders = [str(against or BASE_ALONE), str(actor_path)] if actor_path else []
    overrides: Overrides = {
        "base_policy": {"policy": base_policy_of(config, policy)},
        "residual": {"enabled": bool(actor_path), "explore": False, "contenders": contenders},
        "evaluator": {
            "result_path": str(result_path),
            "arms": arms,
            "episodes": episodes,
            "scene_seed": first_scene,
            "seed": seed,
            "matched": simulate,
        }
        | (evaluator or {}),
        "episode_manager": {"auto_start": False, "first_episode_id": first_episode_id},
    }
    nodes: tuple[str, ...] = (*_control_nodes(config), "evaluator")
    if bag_dir is not None:
        overrides["recorder"] = {"bag_dir": str(bag_dir)}
        nodes = (*nodes, "recorder")
    return _describe(config, _with_robot(nodes, simulate), overrides)


def deploy_graph(
    config: RunConfig,
    policy: Policy,
    actor_path: Path | None,
    simulate: bool = True,
    bag_dir: Path | None = None,
) -> tuple[NodeSpec, ...]:
    """The control path alone: base policy, and the residual of a checkpoint or exported file when one is given.

    bag_dir: directory for the recorder's bags; None: no recorder.
    """
    residual: dict[str, Any] = {"enabled": actor_path is not None, "explore": False}
    overrides: Overrides = {
        "base_policy": {"policy": base_policy_of(config, policy)},
        "residual": residual | ({"actor_path": str(actor_path)} if actor_path else {}),
        "episode_manager": {"auto_start": simulate},
    }
    nodes = _control_nodes(config)
    if bag_dir is not None:
        overrides["recorder"] = {"bag_dir": str(bag_dir)}
        nodes = (*nodes, "recorder")
    return _describe(config, _with_robot(nodes, simulate), overrides)
