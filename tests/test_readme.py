import io
import re
import shlex
import tomllib
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import typer

from evalkit import cli, dataset, prompt, task
from tests.conftest import count_pieces

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)  # language, file name, body
BLOCKS = [(match[1], match[2], match[3]) for match in FENCE.finditer(TEXT)]
COMMANDS = [
    command
    for language, _, body in BLOCKS
    if language == "sh"
    for line in body.splitlines()
    if (command := line.partition("  #")[0].strip())
]
HELP = "$ python -m evalkit "
PROGRAM = typer.main.get_command(cli.app)
TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MADE = {"reports/"}  # by the first run


def help_of(*arguments: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        assert cli.main([*arguments, "--help"]) == 0
    return out.getvalue()


def tree() -> list[str]:
    """The paths of README's file tree, folders with a slash at their end."""
    body = next(body for _, _, body in BLOCKS if body.startswith("README.md\n"))
    paths: list[str] = []
    folders: list[str] = []
    for line in body.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], name]
        paths.append("".join(folders))
    return paths


def test_readme_shows_the_two_commands_that_set_everything_up() -> None:
    assert COMMANDS[:2] == ["make run", "make test"]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist_with_their_flags(command: str) -> None:
    match shlex.split(command):
        case ["make", target]:
            assert target in TARGETS
        case ["python", "-m", "evalkit", name, *arguments]:
            known = PROGRAM.commands[name]  # type: ignore[attr-defined]
            if name == "study":  # a group of commands
                known, *arguments = known.commands[arguments[0]], *arguments[1:]
            known.make_context(name, arguments)  # click's error names a flag that there is not
            named = arguments[arguments.index("--task") + 1] if "--task" in arguments else "arithmetic"
            assert named.startswith("path/to/") or task.load(named)
        case ["python", script]:
            assert (ROOT / script).is_file()
        case other:
            assert other == [".", ".venv/bin/activate"]


def test_every_command_is_documented() -> None:
    for name in [*PROGRAM.commands, *(f"make {target}" for target in TARGETS if target != "help")]:  # type: ignore[attr-defined]
        assert re.search(rf"^\|.*`{name}`.*\|", TEXT, re.MULTILINE), name


def test_the_job_of_make_run_is_told_as_it_is() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    job = re.search(r"^\t\$\(PY\) -m evalkit (run .+) \$\(LIMIT\)$", makefile, re.MULTILINE)
    assert re.search(r"^LIMIT \?=$", makefile, re.MULTILINE)  # all problems, as README says
    assert job
    assert f"`python -m evalkit {job[1]}`: all" in TEXT


def test_help_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = [body for _, _, body in BLOCKS if body.startswith(HELP)]
    assert shown
    for body in shown:
        command, _, _ = body.partition("\n")
        true = f"{command}\n{help_of(*command.removeprefix(HELP).removesuffix(' --help').split())}"
        if request.config.getoption("--update-golden"):
            README.write_text(README.read_text(encoding="utf-8").replace(body, true), encoding="utf-8")
            continue
        assert body == true, "README shows another help; run pytest --update-golden"


@pytest.mark.parametrize("path", tree())
def test_files_of_the_tree_exist(path: str) -> None:
    assert path in MADE or ((ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file())


def test_the_tree_has_what_is_shipped_and_every_package() -> None:
    shipped = {
        each.strip("/").split("/")[0] for each in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    }
    assert {"pyproject.toml", *shipped} == {path.split("/")[0] for path in tree()}
    packages = {f"{found.parent.relative_to(ROOT)}/" for found in (ROOT / "evalkit").rglob("__init__.py")}
    assert packages - set(tree()) == set()


def test_every_module_has_its_place_in_the_codemap() -> None:
    codemap = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    names = {path.name for path in (ROOT / "evalkit").glob("*.py") if not path.name.startswith("__")}
    names |= {f"{path.parent.relative_to(ROOT / 'evalkit')}/" for path in (ROOT / "evalkit").glob("*/**/__init__.py")}
    assert {name for name in names if f"`{name}`" not in codemap} == set()
    mentioned = re.findall(r"^\| (.*?) \|", codemap, re.MULTILINE)
    listed = {name for cell in mentioned for name in re.findall(r"`([\w/]+(?:\.py|/))`", cell)}
    assert listed == names


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text(encoding="utf-8")):
        assert (ROOT / target).is_file(), target


def test_changelog_begins_with_the_version_of_the_package() -> None:
    versions = re.findall(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == PROJECT["project"]["version"]


def test_the_task_of_ones_own_works_as_shown(tmp_path: Path) -> None:
    for _, name, body in BLOCKS:
        if name:
            (tmp_path / name).write_text(body, encoding="utf-8")
    [capitals] = task.load(tmp_path / "capitals.yaml")
    france, japan, peru = dataset.load(capitals.source, task=capitals)
    [built] = prompt.build(capitals, [(peru, [france, japan])], shots=2, count_tokens=count_pieces, window=2048)
    assert built is not None
    assert built.context == (
        "Q: What is the capital of France?\nA: Paris\n\n"
        "Q: What is the capital of Japan?\nA: Tokyo\n\n"
        "Q: What is the capital of Peru?\nA:"
    )
    assert peru.targets == (" Lima",)
