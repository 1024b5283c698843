"""Write docs/reference from the code: nodes with their topics, services and parameters; messages and services.

Usage: reference_pages.py [FOLDER]

Names of topics and services are those of config/security/policy.xml, which is made from the running nodes; their
types are read off the nodes' source.
"""

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from resfit_ros.bringup import NAMESPACE  # noqa: E402
from resfit_ros.core.parameters import NODE_PARAMETERS  # noqa: E402
from resfit_ros.core.schema import contract_of, markdown_table  # noqa: E402

NOTE = "<!-- Written by `python scripts/reference_pages.py`: do not edit. -->"
COMMANDS = "JointTrajectory, Float64MultiArray or JointState, as configured"
# What is not one type in the source, or comes from ROS itself.
TYPES = {
    "/diagnostics": "DiagnosticArray",
    "/joint_command": COMMANDS,
    "/base_command": COMMANDS,
    "/teleop_command": COMMANDS,
    "/*/image_raw": "Image",
    "/*/image_raw/compressed": "CompressedImage",
    "/*_array": "Float64MultiArray",
    "/*_pose": "PoseStamped",
    "/*_wrench": "WrenchStamped",
    "/robot_description": "String",
    "/tf": "TFMessage",
    "/tf_static": "TFMessage",
}
OF_ROS = re.compile(
    r"/(parameter_events|rosout|clock|.*/(get|set|list|describe)_parameter\w*|.*/get_type_description)$"
)
KINDS = {"publish": "publishes", "subscribe": "hears", "reply": "serves", "request": "calls"}


def _policy_script():
    """scripts/security_policy.py as a module, for its reader."""
    path = ROOT / "scripts/security_policy.py"
    spec = importlib.util.spec_from_file_location("security_policy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def types_in_source() -> dict[str, str]:
    """Relative topic or service name to its type, where the source names both at one call."""
    paths = sorted((*ROOT.glob("resfit_ros/nodes/*.py"), *ROOT.glob("resfit_ros/ros/*.py")))
    trees = [ast.parse(path.read_text()) for path in (*paths, *sorted(ROOT.glob("resfit_ros/core/*.py")))]
    constants = dict(pair for tree in trees for pair in _constants(tree))
    return dict(pair for tree in trees for pair in _typed_names(tree, constants))


def _constants(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            yield from ((t.id, node.value.value) for t in node.targets if isinstance(t, ast.Name))


def _typed_names(tree: ast.AST, constants: dict[str, str]) -> Iterator[tuple[str, str]]:
    makers = {"create_publisher", "create_service", "create_client", "hear"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in makers:
            kind, name = node.args[:2]
            text = name.value if isinstance(name, ast.Constant) else constants.get(getattr(name, "id", ""))
            if isinstance(text, str) and isinstance(kind, ast.Name):
                yield text, kind.id.removesuffix("Msg").replace("LabelService", "Label")


def _type_of(name: str, types: dict[str, str]) -> str:
    short = name.removeprefix(f"{NAMESPACE}/").removeprefix("/")
    return TYPES.get(name) or types.get(name) or types.get(short, "")


def _summary(node: str) -> str:
    """First paragraph of the node's module."""
    text = ast.get_docstring(ast.parse((ROOT / f"resfit_ros/nodes/{node}.py").read_text()))
    return " ".join(text.split("\n\n")[0].split())


def nodes_page() -> str:
    """Every node: what it is for, its topics and services, its parameters."""
    use, types = _policy_script().read_policy(), types_in_source()
    lines = ["# Nodes", "", NOTE, "", f"Namespace `{NAMESPACE}`. Every node also reports on `/diagnostics`.", ""]
    for node, kind in NODE_PARAMETERS.items():
        lines += [f"## {node}", "", _summary(node), ""]
        rows = [
            f"| {KINDS[how]} | `{name}` | {_type_of(name, types)} |"
            for how in KINDS
            for k, name in sorted(use[node])
            if k == how and not OF_ROS.match(name) and name != "/diagnostics"
        ]
        lines += ["| | Name | Type |", "|---|---|---|", *rows, ""]
        live = [f"`{f}`" for f in kind.__dataclass_fields__ if contract_of(kind.__dataclass_fields__[f]).live]
        lines += ["Parameters" + (f" (changed while running: {', '.join(live)})" if live else "") + ":", ""]
        lines += [markdown_table(kind)]
    return "\n".join(lines)


def interfaces_page() -> str:
    """Every message and service, field by field."""
    lines = ["# Messages and services", "", NOTE, ""]
    for path in (*sorted(ROOT.glob("msg/*.msg")), *sorted(ROOT.glob("srv/*.srv"))):
        lines += [f"## {path.stem}{'' if path.suffix == '.msg' else ' (service)'}", ""]
        lines += _interface(path.read_text())
    return "\n".join(lines)


def _interface(text: str) -> list[str]:
    """A definition as tables; a line `---` parts the request of a service from the answer."""
    about, lines, head = [], [], ["| Type | Field | Meaning |", "|---|---|---|"]
    rows = list(head)
    for line in text.splitlines():
        code, _, words = (part.strip() for part in line.partition("#"))
        if not code and words:
            about.append(words)
        elif code == "---":
            lines += [*_table(rows), "Answer:", ""]
            rows = list(head)
        elif code:
            kind, field = code.split(maxsplit=1)
            rows.append(f"| {kind} | `{field}` | {words.replace('|', chr(92) + '|')} |")
    return [*about, "", *lines, *_table(rows)]


def _table(rows: list[str]) -> list[str]:
    return [*rows, ""] if len(rows) > 2 else []


PAGES = {"nodes.md": nodes_page, "interfaces.md": interfaces_page}


def main(arguments: list[str]) -> int:
    """Writes the pages; returns the exit status."""
    folder = Path(arguments[0]) if arguments else ROOT / "docs/reference"
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page())
        print(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
