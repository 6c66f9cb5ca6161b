import ast
import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, BUILD = SETTINGS["project"], SETTINGS["tool"]["hatch"]["build"]
RUNTIME = [Requirement(each) for each in PROJECT["dependencies"]]
OPTIONAL = [
    Requirement(each) for name in ("distributed", "hf", "study") for each in PROJECT["optional-dependencies"][name]
]
DEV = [Requirement(each) for each in PROJECT["optional-dependencies"]["dev"]]
PINS = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
# Run, or imported by evalkit or by lm_eval's hf back end, never by tests.
TOOLS = {"mypy", "ruff", "types-pyyaml", "pytest-xdist", "accelerate", "uvicorn"}


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(each.name) for each in requirements}


@cache
def distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def imported(folder: str) -> set[str]:
    """The distributions that the modules of a folder import."""
    found: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    ours = {"evalkit", "tests", "benchmarks", *(path.stem for path in (ROOT / "benchmarks").iterdir())}
    return {canonicalize_name(distributions()[name][0]) for name in found - ours - sys.stdlib_module_names}


def test_runtime_dependencies_are_what_the_package_imports() -> None:
    assert imported("evalkit") == names(RUNTIME) | names(OPTIONAL)


def test_development_dependencies_are_what_the_tests_import_and_the_tools() -> None:
    wanted = imported("tests") | imported("benchmarks")
    assert wanted - names(RUNTIME) - {"packaging"} <= names(DEV)  # packaging comes with pytest
    assert names(DEV) - TOOLS <= wanted


def test_pins_are_exact_and_public() -> None:
    assert [pin for pin in PINS if not re.fullmatch(r"[\w.-]+==[\d.]+(\.?(post|rc|a|b)\d+)?", pin)] == []


def test_pins_satisfy_what_the_package_asks_for() -> None:
    pinned = {canonicalize_name(name): version for name, version in (pin.split("==") for pin in PINS)}
    asked = [*RUNTIME, *OPTIONAL, *DEV]
    assert [each for each in asked if not each.specifier.contains(pinned[canonicalize_name(each.name)])] == []


def test_wheels_keep_data_where_it_is_looked_for() -> None:
    wheel = BUILD["targets"]["wheel"]
    assert wheel["sources"] == {name: f"evalkit/_data/{name}" for name in ("tasks", "prompts")}
    assert {f"/{name}" for name in wheel["sources"]} <= {*wheel["include"]} & {*BUILD["targets"]["sdist"]["include"]}
