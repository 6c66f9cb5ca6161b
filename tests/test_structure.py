import ast
from functools import cache
from pathlib import Path

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


def test_nothing_below_imports_a_main_path_or_the_command_line() -> None:
    below = sorted(MODULES.keys() - MAIN_PATHS - TOP)
    assert {name: found for name in below if (found := imports(name) & (MAIN_PATHS | TOP))} == {}


def test_main_paths_do_not_import_the_command_line() -> None:
    assert {name: found for name in sorted(MAIN_PATHS) if (found := imports(name) & TOP)} == {}


def test_models_and_metrics_do_not_know_each_other() -> None:
    for one, other in (("evalkit.models", "evalkit.metrics"), ("evalkit.metrics", "evalkit.models")):
        own = [name for name in MODULES if name.startswith(one)]
        assert [(name, each) for name in own for each in imports(name) if each.startswith(other)] == []


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


def test_every_module_begins_by_saying_what_it_is_for() -> None:
    assert [name for name in MODULES if not ast.get_docstring(tree(name))] == []


def test_no_file_is_longer_than_one_idea() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
