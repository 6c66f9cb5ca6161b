"""The commands generate and train, on nano and on small files."""

import io
import itertools
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from evalkit import cli
from evalkit.models.load import load
from tests.decoders import save_gpt2, save_native


def call(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(arguments)
    return code, out.getvalue(), err.getvalue()


def test_generate_answers_a_sum() -> None:
    prompt = "\n\nQ: What is 20 plus 45?\n\nA:"
    code, out, _ = call("generate", "--prompt", prompt, "--temperature", "0", "--stop", "\n")
    assert (code, out) == (0, " 65\n")


def test_generate_without_a_prompt_begins_at_the_start_token() -> None:
    code, out, _ = call("generate", "--max-tokens", "40", "--top-k", "40", "--temperature", "0.5")
    assert code == 0
    assert "Q: What is" in out


def test_generate_streams_its_text() -> None:
    seen: list[str] = []

    class Written(io.StringIO):
        def flush(self) -> None:
            seen.append(self.getvalue())

    with redirect_stdout(Written()):
        assert cli.main(["generate", "--max-tokens", "30"]) == 0
    growing = sorted(set(seen), key=len)
    assert len(growing) > 5
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(growing))


def test_generate_takes_a_checkpoint_of_another_project(tmp_path: Path) -> None:
    save_gpt2(tmp_path)
    flags = ("--prompt", "The cat", "--max-tokens", "5", "--temperature", "0", "--beams", "2")
    code, _, err = call("generate", "--model", str(tmp_path), *flags)
    assert (code, err) == (0, "")


def bad_commands() -> Iterator[tuple[list[str], str]]:
    yield ["generate", "--temperature", "-1"], "--temperature: found -1.0, expected 0 to 1000"
    yield ["generate", "--top-k", "0"], "--top-k: found 0, expected 1 to"
    yield ["generate", "--top-k", "9" * 30], "--top-k: found 9999"
    yield ["generate", "--length-penalty", "nan"], "--length-penalty: found nan, expected -10 to 10"
    yield ["generate", "--prompt", "Q: 1\udcff"], "--prompt: found bytes that are not UTF-8"
    yield ["generate", "--top-p", "1.5"], "--top-p: found 1.5"
    yield ["generate", "--beams", "4"], "--beams: found 4, but beam search draws nothing; expected temperature 0"
    yield ["generate", "--max-tokens", "0"], "--max-tokens: found 0"
    yield ["generate", "--stop", ""], "--stop: found an empty text"
    yield ["generate", "--window", "4000"], "window 4000: nano has 2048 positions"
    yield ["generate", "--prompt", "a" * 3000], "the window of nano holds 2048"
    yield ["generate", "--model", "nowhere/at all"], "no folder 'nowhere/at all'"
    yield ["generate", "--dtype", "int4"], "dtype 'int4' is not known"
    yield ["generate", "--device", "cuda:77"], "cannot be used"
    yield ["train"], "nothing to learn from"
    yield ["train", "--recipe", "nono"], "no recipe 'nono'; known: nano"
    yield ["train", "--recipe", "nano", "--data", "x.txt"], "brings its own data"
    yield ["train", "--data", "missing.txt"], "missing.txt: no such file"
    yield ["train", "--data", "TEXT", "--shape", "4,128"], "--shape: found '4,128', expected layers, width and heads"
    yield ["train", "--data", "TEXT", "--shape", "2,10,3"], "not a multiple of 3 heads"
    yield ["train", "--data", "TEXT", "--size", "9B"], "no GPT-3 size '9B'"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--learning-rate", "0"], "--learning-rate: found 0"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--learning-rate", "nan"], "--learning-rate: found nan"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--first-batch-tokens", "0"], "--first-batch-tokens: found 0"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--warmup-tokens", "-1"], "--warmup-tokens: found -1"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--seed", "-1"], "--seed: found -1"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--length", "1"], "--length: found 1, expected 2 or more"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--rows", "1000"], "expected at most --batch-tokens 32768"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--vocab-size", "9999999"], "expected 1048576 or fewer"
    yield ["train", "--data", "TEXT", "--size", "175B"], "choose a smaller --size or --shape"
    yield ["train", "--data", "TEXT", "--device", "tpu"], "--device: found 'tpu', expected cpu, cuda, cuda:1 or mps"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--tokens", "0"], "--tokens: found 0"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--rows", "0"], "--rows: found 0"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--vocab-size", "10"], "--vocab-size: found 10"
    yield ["train", "--data", "TEXT", "--shape", "1,8,1", "--tokenizer", "nowhere"], "no tokenizer found"
    yield ["train", "--data", "TEXT", "--init-from", "nowhere at all"], "no folder 'nowhere at all'"


@pytest.mark.parametrize(("arguments", "message"), [*bad_commands()], ids=str)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat\n" * 50)
    out = ["--out", str(tmp_path / "out")] if arguments[0] == "train" else []
    code, _, err = call(*(each.replace("TEXT", str(text)) for each in arguments), *out)
    *progress, line = err.splitlines()
    assert code == 2, err
    assert line.startswith("error: ")
    assert message in line
    assert not any("Traceback" in each for each in progress)


def test_nano_and_folders_load_by_name(tmp_path: Path) -> None:
    save_native(tmp_path)
    assert load("nano").name == "nano"
    assert load(str(tmp_path)).name == str(tmp_path)
