"""Where the package's own files lie, in a source tree and when installed."""

from pathlib import Path

from resfit_ros.core.errors import ConfigError


def config_dir() -> Path:
    """The folder of shipped configurations."""
    root = Path(__file__).resolve().parent.parent
    candidates = [root / "config"]
    # An ament prefix: PREFIX/lib/pythonX/site-packages/resfit_ros beside PREFIX/share/resfit_ros.
    candidates += [p / "share" / "resfit_ros" / "config" for p in Path(__file__).resolve().parents]
    for candidate in candidates:
        if (candidate / "bimanual_lift.yaml").is_file():
            return candidate
    raise ConfigError("the shipped configurations were not found; install resfit_ros again")


def shipped_configs() -> dict[str, Path]:
    """Names of the shipped configurations, e.g. bimanual_lift or robots/ur_like, and their files."""
    root = config_dir()
    found = [*sorted(root.glob("*.yaml")), *sorted(root.glob("robots/*.yaml"))]
    return {str(p.relative_to(root).with_suffix("")): p for p in found}


def find_config(name: str) -> Path:
    """A configuration file by path, or a shipped one by name (with or without .yaml).

    Raises ConfigError naming the shipped ones.
    """
    if Path(name).is_file():
        return Path(name)
    known = shipped_configs()
    if name.removesuffix(".yaml") in known:
        return known[name.removesuffix(".yaml")]
    raise ConfigError(f"{name}: no such configuration file; give a path or one of: {', '.join(known)}")
