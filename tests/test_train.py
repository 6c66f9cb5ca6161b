"""Training: packed sequences, schedules, and a killed training that ends in the same bytes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evalkit.decoder import checkpoint, text_corpus, training_state
from evalkit.decoder.packing import Document, PackingState, pack
from evalkit.decoder.recipes import Reading, fine_tune, new
from evalkit.decoder.train import StepReport, Training, TrainSettings, batch_tokens, learning_rate, train
from evalkit.errors import CheckpointError, DataError, StorageError, UsageError
from tests.decoders import make_decoder, make_tokenizer, save_native
from tests.test_cli import call

SETTINGS = TrainSettings(learning_rate=3e-3, batch_tokens=256, checkpoint_steps=4)
READING = Reading(tokens=5120, length=32, rows=4)


class Numbered:
    """Documents of three tokens: 10 n + 1, 10 n + 2, 10 n + 3; the last one counts double."""

    def document(self, number: int) -> Document:
        return Document([10 * number + digit for digit in (1, 2, 3)], [1.0, 1.0, 2.0])


def corpus(folder: Path) -> list[Path]:
    path = folder / "text.jsonl"
    path.write_text("".join(f'{{"text": "the {n} cats sat on the {n * 7} mats"}}\n' for n in range(300)))
    return [path]


def small(folder: Path, settings: TrainSettings = SETTINGS) -> Training:
    return new(corpus(folder), make_decoder().config, tokenizer=make_tokenizer(), reading=READING, settings=settings)


def test_documents_are_packed_end_to_end_and_every_token_is_learned_once() -> None:
    ids, weights, state = pack(Numbered(), PackingState(), rows=2, length=3, end_of_text=0)
    # 0 1 2 3 | 0 11 12 13 | 0: each row's last column is the next one's first
    assert ids.tolist() == [[0, 1, 2, 3], [3, 0, 11, 12]]
    assert weights.tolist() == [[1, 1, 1, 2], [2, 1, 1, 1]]
    ids, _, _ = pack(Numbered(), state, rows=1, length=4, end_of_text=0)
    assert ids.tolist() == [[12, 13, 0, 21, 22]]


def test_learning_rate_rises_then_falls_to_a_tenth() -> None:
    settings = TrainSettings(learning_rate=1.0, batch_tokens=10, warmup_tokens=100)
    rates = [learning_rate(tokens, total=1100, settings=settings) for tokens in (0, 50, 100, 600, 1100)]
    # warm-up: (0 + 10) / 110 and 60 / 110; cosine: 1 at its start, 0.1 + 0.9 / 2 in the middle, 0.1 at the end
    assert rates == pytest.approx([10 / 110, 60 / 110, 1.0, 0.55, 0.1])


def test_learning_rate_restarts_at_half_its_height() -> None:
    settings = TrainSettings(learning_rate=1.0, batch_tokens=10, restart_tokens=1000)
    rates = [learning_rate(tokens, total=1200, settings=settings) for tokens in (0, 500, 999, 1000, 1100, 1200)]
    assert rates == pytest.approx([1.0, 0.55, 0.1, 0.5, 0.275, 0.05], abs=1e-4)


def test_batch_grows_over_the_ramp() -> None:
    settings = TrainSettings(learning_rate=1.0, batch_tokens=100, first_batch_tokens=20, ramp_tokens=1000)
    assert [batch_tokens(tokens, settings) for tokens in (0, 500, 1000, 5000)] == [20, 60, 100, 100]


def test_loss_falls_and_the_result_is_a_checkpoint(tmp_path: Path) -> None:
    losses: list[float] = []
    training = small(tmp_path)
    trained = train(training, tmp_path / "out", on_step=lambda step: losses.append(step.loss))
    assert losses[-1] < 0.7 * losses[0]
    loaded = checkpoint.load(tmp_path / "out")
    tokens = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        assert torch.equal(loaded.decoder(tokens), trained(tokens))
    assert loaded.tokenizer.start == loaded.tokenizer.end_of_text
    header, *rows = (tmp_path / "out" / "loss.csv").read_text().splitlines()
    assert header == "step,tokens,learning_rate,loss"
    assert [float(row.split(",")[3]) for row in rows] == losses


def test_interrupted_training_takes_the_same_steps(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop_at(limit: int) -> None:
        def on_step(step: object) -> None:
            if step.step == limit:  # type: ignore[attr-defined]
                raise StoppedError

        with pytest.raises(StoppedError):
            train(small(tmp_path), tmp_path / "broken", on_step=on_step)

    train(small(tmp_path), tmp_path / "whole")
    for limit in (3, 7, 11):  # before the first checkpoint, between two, between two again
        stop_at(limit)
    train(small(tmp_path), tmp_path / "broken")
    for name in ("loss.csv", "model.safetensors"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_killed_training_command_ends_in_the_same_bytes(tmp_path: Path) -> None:
    corpus(tmp_path)
    shape = ("--shape", "2,16,2", "--vocab-size", "300", "--tokens", "6400", "--length", "32", "--rows", "4")
    steps = ("--batch-tokens", "128", "--checkpoint-steps", "3")
    flags = ("train", "--data", str(tmp_path / "text.jsonl"), *shape, *steps, "--out")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "evalkit", *flags, str(broken)]
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for _ in watch(60):
        if (broken / "latest").exists() or killed.poll() is not None:
            break
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(timeout=30) == -signal.SIGKILL
    for out in (broken, whole):
        assert call(*flags, str(out))[0] == 0
    for name in ("loss.csv", "model.safetensors", "tokenizer.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert (broken / "loss.png").stat().st_size > 1000


def watch(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)


def test_training_of_other_settings_is_not_continued(tmp_path: Path) -> None:
    train(small(tmp_path), tmp_path / "out")
    other = TrainSettings(learning_rate=1e-3, batch_tokens=256, checkpoint_steps=4)
    with pytest.raises(UsageError, match=r"holds a training with learning_rate 0\.003, this one has 0\.001"):
        train(small(tmp_path, other), tmp_path / "out")


def test_training_on_other_text_is_not_continued(tmp_path: Path) -> None:
    train(small(tmp_path), tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "text.txt").write_text("call me Ishmael " * 100)
    config = make_decoder().config
    other = new([tmp_path / "text.txt"], config, tokenizer=make_tokenizer(), reading=READING, settings=SETTINGS)
    with pytest.raises(UsageError, match="holds a training with other text; choose another --out"):
        train(other, tmp_path / "out")
    wider = replace(config, d_ff=64)
    reshaped = new(corpus(tmp_path), wider, tokenizer=make_tokenizer(), reading=READING, settings=SETTINGS)
    with pytest.raises(UsageError, match="holds a training with other decoder; choose another --out"):
        train(reshaped, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_finished_training_is_left_as_it_is(tmp_path: Path) -> None:
    train(small(tmp_path), tmp_path / "out")
    model = tmp_path / "out" / checkpoint.WEIGHTS
    before, written = contents(tmp_path / "out"), model.stat().st_mtime_ns
    train(small(tmp_path), tmp_path / "out")
    assert model.stat().st_mtime_ns == written
    model.unlink()
    train(small(tmp_path), tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_diverging_training_stops_and_keeps_its_last_checkpoint(tmp_path: Path) -> None:
    training = small(tmp_path)

    def spoil(step: StepReport) -> None:
        if step.step == 5:  # the last checkpoint is that of step 4
            with torch.no_grad():
                training.decoder.tokens.fill_(torch.nan)

    with pytest.raises(UsageError, match=r"step 6: loss nan, .*lower --learning-rate"):
        train(training, tmp_path / "out", on_step=spoil)
    assert (tmp_path / "out" / "latest").read_text() == "step-00000004\n"
    assert not (tmp_path / "out" / checkpoint.WEIGHTS).exists()


@pytest.mark.parametrize("part", ["latest", "name", "numbers", "truncated", "moments"])
def test_damaged_training_is_reported_in_one_line(tmp_path: Path, part: str) -> None:
    out = tmp_path / "out"
    train(small(tmp_path), out)
    [step] = out.glob("step-*")
    tensors = step / training_state.TENSORS
    if part == "latest":
        (out / "latest").write_bytes(b"\xff\xfe")
    if part == "name":
        (out / "latest").write_text("../elsewhere")
    if part == "numbers":
        (step / training_state.NUMBERS).write_text("{}")
    if part == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:1000])
    if part == "moments":
        kept = {name: tensor for name, tensor in load_file(tensors).items() if not name.startswith("exp_avg.")}
        save_file(kept, tensors)
    with pytest.raises(CheckpointError, match=r"its training is damaged \(.+\); choose another --out") as caught:
        train(small(tmp_path), out)
    assert "\n" not in str(caught.value)


def test_out_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file: found a file, expected a folder"):
        train(small(tmp_path), tmp_path / "file")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fine_tuning_shortens_sequences_to_the_window(tmp_path: Path) -> None:
    save_native(tmp_path / "start")
    reading = Reading(tokens=1000, length=2048)
    tuned = fine_tune(corpus(tmp_path), tmp_path / "start", reading=reading, settings=SETTINGS)
    assert tuned.stages[0].length == 64


def test_fine_tuning_begins_with_the_checkpoint(tmp_path: Path) -> None:
    start = save_native(tmp_path / "start")
    settings = TrainSettings(learning_rate=1e-9, batch_tokens=256)
    tuned = fine_tune(corpus(tmp_path), tmp_path / "start", reading=READING, settings=settings)
    train(tuned, tmp_path / "out")
    tokens = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(tuned.decoder(tokens), start(tokens), atol=1e-4, rtol=0)


def test_epoch_reads_every_document_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    made = make_tokenizer()
    documents = text_corpus.tokenize([f"{n}" for n in range(100)], made, seed=1)
    epochs = [[made.decode(documents.document(n).ids) for n in range(100 * e, 100 * e + 100)] for e in (0, 1)]
    assert sorted(epochs[0], key=int) == sorted(epochs[1], key=int) == [str(n) for n in range(100)]
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"txt": "b"}\n', r"text\.jsonl:2: no text in column 'text'; columns found: txt"),
        ('{"text": "a"}\n{oops\n', r"text\.jsonl:2: broken JSON"),
        ("", "holds no text"),
    ],
)
def test_broken_training_data_names_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        new([path], make_decoder().config, tokenizer=make_tokenizer(), reading=READING, settings=SETTINGS)


def test_folder_that_cannot_be_made_is_reported_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    steps: list[object] = []
    with pytest.raises(StorageError, match="cannot be written"):
        train(small(tmp_path), tmp_path / "file" / "out", on_step=steps.append)
    assert steps == []


def test_sequences_beyond_the_window_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sequences of 100 tokens; the window is 64"):
        new(
            corpus(tmp_path),
            make_decoder().config,
            tokenizer=make_tokenizer(),
            reading=Reading(tokens=1000, length=100),
            settings=SETTINGS,
        )
