"""What holds of the launch files where no `launch` is installed."""

import ast
from pathlib import Path

import pytest
from conftest import LAUNCH_FILES, ROOT

OF_LAUNCH = ("launch", "launch_ros", "launch_testing", "launch_testing_ros", "osrf_pycommon", "ros2launch")
PACKAGE = ROOT / "resfit_ros"
LAUNCHING = PACKAGE / "launching.py"  # the one module that may import `launch`, where it is used


def imports(tree: ast.AST) -> list[ast.stmt]:
    """Import statements of ROS's launch packages, at any depth."""
    found = []
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        if any(name.split(".")[0] in OF_LAUNCH for name in names):
            found.append(node)
    return found


def test_when_files_are_counted_expect_one_per_way_to_run():
    verbs = [path.name.split(".")[0] for path in LAUNCH_FILES]
    assert verbs == ["deploy", "evaluate", "finetune", "pretrain", "record"]


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name.split(".")[0])
def test_when_a_launch_file_is_compiled_expect_a_thin_one(path: Path):
    text = path.read_text()
    tree = ast.parse(text)
    compile(tree, str(path), "exec")
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions == ["plan", "generate_launch_description"]
    assert f"ros2 launch resfit_ros {path.name}" in ast.get_docstring(tree)
    assert f'"{path.name.split(".")[0]}", ARGUMENTS, plan' in text
    assert len(text.splitlines()) <= 50


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name.split(".")[0])
def test_when_a_launch_file_is_loaded_without_launch_expect_its_arguments(path: Path):
    names = {}
    exec(compile(path.read_text(), str(path), "exec"), names)  # noqa: S102  as launch itself does
    arguments = [argument.name for argument in names["ARGUMENTS"]]
    assert len(set(arguments)) == len(arguments)
    assert {"config", "timing"} <= set(arguments)


def test_when_modules_import_launch_expect_only_launching_inside_functions():
    sources = [*PACKAGE.rglob("*.py"), *LAUNCH_FILES]
    assert [p for p in sources if p != LAUNCHING and imports(ast.parse(p.read_text()))] == []
    tree = ast.parse(LAUNCHING.read_text())
    at_top = [node for node in tree.body if imports(ast.Module([node], [])) and isinstance(node, ast.stmt)]
    # Functions, and the block that only a type checker reads.
    assert {type(node) for node in at_top} == {ast.FunctionDef, ast.If}
    assert [ast.unparse(n.test) for n in at_top if isinstance(n, ast.If)] == ["TYPE_CHECKING"]
