import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from evalkit import cli
from evalkit.errors import CheckpointError
from evalkit.interfaces import LanguageModel
from evalkit.models.scripted import ScriptedModel
from tests.scripted import calculate

ROOT = Path(__file__).parent.parent
SMALL = str(ROOT / "tests" / "small.yaml")
ADDITION = f"{SMALL}/addition"
HEAVY = ("torch", "transformers", "datasets", "numpy", "pandas", "pyarrow", "matplotlib", "rich.progress")


def scripted(_: str, *, window: int | None, **__: object) -> LanguageModel:
    return ScriptedModel(calculate, window=window or 2048)


def call(*arguments: str, load: cli.Load = scripted) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(arguments, load=load)
    return code, out.getvalue(), err.getvalue()


def evalkit(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evalkit", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        check=False,
        text=True,
        errors="backslashreplace",
    )


def refuse(*_: object, **__: object) -> LanguageModel:
    raise AssertionError("the model was loaded before the mistake was found")


@pytest.mark.parametrize("arguments", [("--help",), ("tasks",), ("models",)])
def test_it_answers_at_once(arguments: tuple[str, ...]) -> None:
    fastest = 9.0
    for _ in range(5):
        begun = _seconds_of_children()
        assert evalkit(*arguments).returncode == 0
        fastest = min(fastest, _seconds_of_children() - begun)
        if fastest < 0.5:
            break
    assert fastest < 0.5


def _seconds_of_children() -> float:
    """The processor time of finished processes, which other work on the machine hardly changes."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@pytest.mark.parametrize("arguments", [["--help"], ["tasks"], ["models"], ["run", "--help"]])
def test_it_imports_nothing_heavy_before_it_has_to(arguments: list[str]) -> None:
    program = f"import sys; from evalkit.cli import main; main({arguments}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stderr.split()) & set(HEAVY) == set()


def test_tasks_lists_every_task() -> None:
    code, out, _ = call("tasks")
    assert code == 0
    assert "  arithmetic/2-digit-addition\n" in out


def test_run_prints_the_table_and_where_the_report_lies(tmp_path: Path) -> None:
    code, out, _ = call("run", "--task", SMALL, "--shots", "0,2", "--limit", "5", "--out", str(tmp_path / "run"))
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "Exact match in % of scripted, with 95 % intervals"
    assert any(line.split()[:2] == ["Addition", "5"] for line in lines)
    assert any("mean of 2 tasks" in line for line in lines)
    assert lines[-1] == f"report: {tmp_path / 'run' / 'index.html'}"
    assert (tmp_path / "run" / "index.html").is_file()


def test_run_takes_data_of_the_released_form(tmp_path: Path) -> None:
    data = tmp_path / "two_digit_addition.jsonl"
    data.write_text(
        "".join(
            json.dumps({"context": f"\n\nQ: What is {a} plus 45?\n\nA:", "completion": f" {a + 45}"}) + "\n"
            for a in range(60, 70)
        )
    )
    code, _, err = call("run", "--task", ADDITION, "--data", str(data), "--shots", "3", "--out", str(tmp_path / "run"))
    assert code == 0, err
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 10
    assert samples[0]["prompt"]["context"].endswith("\n\nQ: What is 60 plus 45?\n\nA:")
    assert samples[0]["prompt"]["context"].count("Q:") == 4


def test_prompt_shows_every_blank() -> None:
    code, out, _ = call("prompt", "--task", ADDITION, "--shots", "1", "--example", "0")
    assert code == 0
    assert out.count("⏎\n⏎\nQ:·What·is·") == 2
    assert "demonstrations  1 of 1 shot: " in out
    assert "tokens " in out


def test_prompt_says_what_was_dropped() -> None:
    code, out, _ = call("prompt", "--task", ADDITION, "--shots", "3", "--window", "33")
    assert code == 0
    assert "demonstrations  1 of 3 shots: " in out
    assert len(out.split("dropped ")[1].split(", ")) == 2


def test_prompt_finds_an_example_by_id() -> None:
    by_place = call("prompt", "--task", ADDITION, "--example", "17")
    by_id = call("prompt", "--task", ADDITION, "--example", "2-digit-addition-test-0-17")
    assert by_place == by_id


def make_file(text: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        path = folder / "made.jsonl"
        path.write_text(text)
        return str(path)

    return make


BROKEN_LINE = make_file('{"question": "1 plus 1", "answer": "2"}\n{"question": \n')
NO_COLUMN = make_file('{"context": "1 plus 1"}\n')
EMPTY = make_file("")
NO_BINARY = make_file("\0\0")


@pytest.mark.parametrize(
    ("arguments", "file", "parts"),
    [
        (["run", "--task", "arithmetik"], None, ["arithmetik", "did you mean 'arithmetic'"]),
        (["run", "--task", "arithmetic/2-digit-adition"], None, ["did you mean '2-digit-addition'"]),
        (["run", "--task", "nowhere.yaml"], None, ["nowhere.yaml", "no such task file"]),
        (["run", "--task", ","], None, ["--task", "nothing beside a comma"]),
        (["run"], None, ["--task"]),
        (["run", "--task", ADDITION, "--shots", "-1"], None, ["--shots", "-1", "0 to 100,000"]),
        (["run", "--task", ADDITION, "--shots", "9" * 30], None, ["--shots", "0 to 100,000"]),
        (["run", "--task", ADDITION, "--data", ""], None, ["--data", "found an empty text"]),
        (["run", "--task", ADDITION, "--shots", "ten"], None, ["--shots", "'ten'"]),
        (["run", "--task", ADDITION, "--shots", ""], None, ["--shots"]),
        (["run", "--task", ADDITION, "--limit", "0"], None, ["--limit", "1 or more"]),
        (["run", "--task", ADDITION, "--limit", "few"], None, ["--limit", "integer"]),
        (["run", "--task", ADDITION, "--window", "0"], None, ["--window", "found 0, expected 2 or more"]),
        (["run", "--task", ADDITION, "--window", "1"], None, ["--window", "found 1, expected 2 or more"]),
        (["run", "--task", ADDITION, "--out", ""], None, ["--out", "found an empty text"]),
        (["run", "--task", ADDITION, "--token-budget", "0"], None, ["--token-budget"]),
        (["run", "--task", ADDITION, "--demos", "fixd"], None, ["--demos", "did you mean 'fixed'"]),
        (["run", "--task", ADDITION, "--by", "witheld"], None, ["--by", "did you mean 'withheld'"]),
        (["run", "--task", ADDITION, "--by", "question"], None, ["--by", "200 values"]),
        (["run", "--task", ADDITION, "--data", "nowhere.jsonl"], None, ["nowhere.jsonl", "no such file"]),
        (["run", "--task", SMALL, "--data", "FILE"], EMPTY, ["--data", "2 tasks", "small/addition"]),
        (["run", "--task", ADDITION, "--data", "FILE"], BROKEN_LINE, ["made.jsonl:2", "broken JSON"]),
        (["run", "--task", ADDITION, "--data", "FILE"], NO_COLUMN, ["made.jsonl:1", "missing column"]),
        (["run", "--task", ADDITION, "--data", "FILE"], EMPTY, ["made.jsonl", "no rows"]),
        (["run", "--task", ADDITION, "--data", "FILE"], NO_BINARY, ["made.jsonl:1"]),
        (["run", "--task", ADDITION, "--out", "FILE/run"], EMPTY, ["cannot write", "not a directory", "--out"]),
        (["run", "--task", ADDITION, "--out", "FILE"], EMPTY, ["cannot write", "not a directory", "--out"]),
        (["run", "--task", ADDITION, "--out", str(ROOT)], None, ["not a run", "--out"]),
        (["prompt", "--task", SMALL], None, ["--task", "2 tasks", "small/addition"]),
        (["prompt", "--task", ADDITION, "--example", "200"], None, ["--example", "0 to 199"]),
        (["prompt", "--task", ADDITION, "--shots", "1,2"], None, ["--shots", "one number"]),
        (["run", "--nonsense"], None, ["--nonsense", "; --help shows the flags"]),
        (["evaluate"], None, ["evaluate"]),
    ],
)
def test_bad_input_is_one_line_before_a_model_is_loaded(
    tmp_path: Path, arguments: list[str], file: Callable[[Path], str] | None, parts: list[str]
) -> None:
    path = file(tmp_path) if file else ""
    code, out, err = call(*(each.replace("FILE", path) for each in arguments), load=refuse)
    assert code == 2, err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
    assert out == ""


def test_a_directory_that_cannot_be_made_is_one_line() -> None:
    code, _, err = call("run", "--task", ADDITION, "--limit", "2", "--out", "/proc/evalkit")  # not even root may
    assert code == 2
    assert err.splitlines()[-1].startswith("error: /proc/evalkit: cannot write: ")


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    def fail(name: str, **_: object) -> LanguageModel:
        raise CheckpointError(f"unknown model {name!r};\nknown: nano")

    code, _, err = call("run", "--task", ADDITION, "--model", "nono", "--out", str(tmp_path), load=fail)
    assert (code, err) == (2, "error: unknown model 'nono'; known: nano\n")


def test_a_fault_of_evalkit_is_one_line_that_names_debug(tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> LanguageModel:
        raise ZeroDivisionError("division by zero")

    code, _, err = call("run", "--task", ADDITION, "--out", str(tmp_path), load=fail)
    assert code == 1
    assert err == "error: unexpected ZeroDivisionError: division by zero; --debug shows where it comes from\n"


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> LanguageModel:
        raise OSError(28, "No space left on device", "/cache/model.bin")

    code, _, err = call("run", "--task", ADDITION, "--out", str(tmp_path), load=fail)
    assert code == 2
    assert err == "error: /cache/model.bin: No space left on device; mend this and run the same command again\n"


@pytest.mark.parametrize("arguments", [["--debug", "run", "--task", "nope"], ["run", "--task", "nope", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(arguments: list[str]) -> None:
    code, _, err = call(*arguments)
    assert code == 2
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("error: unknown task 'nope'")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_terminals_that_are_not_utf_8_show_what_they_can(encoding: str) -> None:
    done = evalkit("prompt", "--task", "nope·", PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert "UnicodeEncodeError" not in done.stderr
    assert "unknown task" in done.stderr


def test_a_closed_output_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m evalkit tasks >&-"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_during_imports_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    done = evalkit("tasks", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_generated_text_is_written_as_it_is() -> None:
    def load(*_: object, **__: object) -> LanguageModel:
        return ScriptedModel(lambda _: "\x1b[1mbold")

    assert call("generate", "--prompt", "a", load=load)[1] == "\x1b[1mbold\n"


def test_a_closed_pipe_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from evalkit.cli import main; import sys; sys.stdin.read(); sys.exit(main(['tasks']))"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()  # before anything is written
    process.stdout = None
    _, err = process.communicate("", timeout=30)
    assert err == ""
    assert process.returncode == cli.CLOSED


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "100000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "None")],
)
def test_threads_do_not_wait_awake_for_long_unless_the_user_says_so(given: dict[str, str], expected: str) -> None:
    code = (
        "import os, sys; from evalkit.__main__ import main; sys.argv = ['evalkit', 'tasks']; main(); "
        "print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment = kept | {"PYTHONPATH": str(ROOT)} | given
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == expected
