import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "evalkit"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "_data" not in path.parts
}
MAIN_PATHS = {
    *("evalkit.run", "evalkit.preview", "evalkit.contamination.scan", "evalkit.contamination.compare"),
    *("evalkit.diff", "evalkit.report_command", "evalkit.report_scans"),
    *("evalkit.articles.build", "evalkit.articles.corpus", "evalkit.articles.report"),
}
TOP = {
    *("evalkit.cli", "evalkit.cli_contamination", "evalkit.cli_results", "evalkit.cli_flags", "evalkit.cli_output"),
    *("evalkit.cli_export", "evalkit.cli_study", "evalkit.__main__"),
}
LONGEST = 450


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


@cache
def imports(name: str) -> frozenset[str]:
    """The modules of evalkit that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            found |= {
                inner if (inner := f"{node.module}.{alias.name}") in MODULES else str(node.module)
                for alias in node.names
            }
    return frozenset(each for each in found if each.split(".")[0] == "evalkit")


def test_records_and_errors_stand_on_their_own() -> None:
    assert imports("evalkit.records") == imports("evalkit.errors") == frozenset()


def test_interfaces_know_records_alone() -> None:
    assert imports("evalkit.interfaces") <= {"evalkit.records"}


@pytest.mark.parametrize("name", sorted(MODULES.keys() - MAIN_PATHS - TOP))
def test_nothing_below_imports_a_main_path_or_the_command_line(name: str) -> None:
    assert imports(name) & (MAIN_PATHS | TOP) == frozenset()


@pytest.mark.parametrize("name", sorted(MAIN_PATHS & MODULES.keys()))
def test_main_paths_do_not_import_the_command_line(name: str) -> None:
    assert imports(name) & TOP == frozenset()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_models_and_metrics_do_not_know_each_other(name: str) -> None:
    for one, other in (("evalkit.models", "evalkit.metrics"), ("evalkit.metrics", "evalkit.models")):
        if name.startswith(one):
            assert not any(each.startswith(other) for each in imports(name))


def test_no_module_imports_itself_in_a_circle() -> None:
    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for each in sorted(at_once(name)):
                visit(each, (*path, name))
            done.add(name)

    done: set[str] = set()
    for name in MODULES:
        visit(name, ())


def at_once(name: str) -> set[str]:
    """What is imported when the module is: functions and blocks for type checkers left out."""
    found: set[str] = set()
    for node in tree(name).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {each for each in found & MODULES.keys() if each != "evalkit"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_module_begins_by_saying_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(tree(name)), f"{name} has no docstring"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_file_is_longer_than_one_idea(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST
