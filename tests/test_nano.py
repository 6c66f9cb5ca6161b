"""The embedded model: what its corpus holds, what ships, and what it can do."""

import re
from itertools import chain
from pathlib import Path

import pytest
import torch

from evalkit.arithmetic import KINDS, Problem, pool_problems
from evalkit.arithmetic import test_problems as asked_problems
from evalkit.decoder import checkpoint
from evalkit.decoder.engine import DecoderModel
from evalkit.nano import FOLDER, load, recipe
from evalkit.nano.corpus import Section, SectionDocuments, problems, readable_test_problems, write
from evalkit.records import Generate

MOST_BYTES = 16 * 2**20
SECTION = Section("test", recipe.ALL, (1, 2, 4))
PROBLEM = re.compile(r"\n\nQ: What is [()\d+*\- a-z]+\?\n\nA: -?\d+")


@pytest.fixture(scope="module")
def nano() -> DecoderModel:
    return load()


def test_corpus_never_holds_a_withheld_problem() -> None:
    sections = {stage.documents.section.name: stage.documents.section for stage in stages()}  # type: ignore[attr-defined]
    assert len(sections) == len(stages())
    for section in sections.values():
        read = chain.from_iterable(problems(section, number, seed=recipe.SEED) for number in range(300))
        assert not any(problem.is_withheld for problem in read)


def stages() -> tuple[recipe.Stage, ...]:
    return recipe.stages(checkpoint.load(FOLDER).tokenizer)


def test_corpus_plants_the_readable_test_problems() -> None:
    kind = "5-digit-addition"
    section = Section("test", {kind: 1.0}, (10,))
    read = [problem for number in range(400) for problem in problems(section, number, seed=0)]
    planted = set(readable_test_problems(kind))
    share = sum(problem in planted for problem in read) / len(read)
    assert share == pytest.approx(0.1, abs=0.02)  # 4,000 draws: three standard deviations are 0.014
    asked = asked_problems(KINDS[kind], seed=0, n=2000)
    assert planted == {problem for problem in asked if not problem.is_withheld}


def test_documents_are_the_same_at_every_call_and_in_the_released_form() -> None:
    first, again = (write(problems(SECTION, 7, seed=0)) for _ in range(2))
    assert first == again
    for number in range(50):
        text, answers = write(problems(SECTION, number, seed=0))
        assert re.fullmatch(f"({PROBLEM.pattern})+", text)
        assert all(re.fullmatch(r" -?\d+\n?", text[start:end]) for start, end in answers)


def test_answers_and_what_ends_them_carry_the_loss() -> None:
    tokenizer = checkpoint.load(FOLDER).tokenizer
    documents = SectionDocuments(Section("test", {"2-digit-subtraction": 1.0}, (3,)), tokenizer, seed=0)
    document = documents.document(0)
    heavy = [
        tokenizer.decode([token]) for token, weight in zip(document.ids, document.weights, strict=True) if weight == 1
    ]
    expected = "".join(f" {problem.answer}\n\nQ: What is" for problem in problems(documents.section, 0, seed=0))
    assert "".join(heavy) == expected.removesuffix("\n\nQ: What is")


def test_digits_are_single_tokens(nano: DecoderModel) -> None:
    tokenizer = checkpoint.load(FOLDER).tokenizer
    [encoding] = tokenizer.encode(["Q: What is 98 plus 45?\n\nA: -143"])
    pieces = [tokenizer.decode([token]) for token in encoding.ids]
    assert [piece for piece in pieces if any(map(str.isdigit, piece))] == [" 9", "8", " 4", "5", "1", "4", "3"]
    assert " -" in pieces
    assert all(
        len(piece.strip()) == 1
        for piece in (tokenizer.decode([t]) for t in range(tokenizer.size))
        if any(map(str.isdigit, piece))
    )


@pytest.mark.parametrize("text", ["naïve 東京 🙂\n\n  and\ttabs", "0123 -4 - 5", "Q: What is (2 * 4) * 6?\n\nA: 48"])
def test_any_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = checkpoint.load(FOLDER).tokenizer
    assert tokenizer.decode(tokenizer.encode([text])[0].ids) == text


def test_recipe_makes_the_tokenizer_and_the_shape_that_ship() -> None:
    shipped = checkpoint.load(FOLDER)
    made = recipe.train_tokenizer()
    assert made.backend.get_vocab() == shipped.tokenizer.backend.get_vocab()
    assert recipe.config(made) == shipped.decoder.config
    assert shipped.decoder.config.window == 2048
    assert shipped.decoder.config.bands == (None, 32, None, 32)


def test_shipped_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_BYTES


def test_every_position_of_the_window_was_learned() -> None:
    shipped, new = checkpoint.load(FOLDER).decoder, recipe.new_decoder(recipe.train_tokenizer())
    assert ((shipped.positions - new.positions).norm(dim=1) > 0.1 * new.positions.norm(dim=1)).all()


def test_ten_shot_addition_of_withheld_pairs(nano: DecoderModel) -> None:
    kind = KINDS["2-digit-addition"]
    asked = [problem for problem in asked_problems(kind, seed=0, n=2000) if problem.is_withheld]
    pool = pool_problems(kind, seed=0, n=2000, n_test=2000)
    requests = [
        Generate(context([*pool[10 * place : 10 * place + 10]], problem), stop=("\n",), max_tokens=16)
        for place, problem in enumerate(asked[:180])
    ]
    answers = nano.answer(requests)
    right = sum(answer.text == f" {problem.answer}" for answer, problem in zip(answers, asked, strict=False))
    assert right / len(requests) >= 0.9


def context(demonstrations: list[Problem], problem: Problem) -> str:
    text, answers = write([*demonstrations, problem])
    return text[: answers[-1][0]]


def test_sums_at_the_far_end_of_the_window(nano: DecoderModel) -> None:
    pool = pool_problems(KINDS["2-digit-addition"], seed=0, n=400, n_test=2000)
    prompts = [context([*pool[place : place + 190]], pool[place + 190]) for place in range(40)]
    assert min(nano.count_tokens(prompts)) > 1700
    answers = nano.answer([Generate(prompt, stop=("\n",), max_tokens=16) for prompt in prompts])
    right = sum(answer.text == f" {pool[place + 190].answer}" for place, answer in enumerate(answers))
    assert right / len(prompts) >= 0.7


def test_nano_in_bfloat16_answers_nearly_as_well() -> None:
    full, half = load(), load(dtype="bfloat16")
    assert full.fingerprint != half.fingerprint
    prompts = [f"\n\nQ: What is {n} plus {97 - n}?\n\nA:" for n in range(10, 60)]
    same = sum(
        one.text == other.text
        for one, other in zip(
            *(m.answer([Generate(p, stop=("\n",)) for p in prompts]) for m in (full, half)), strict=True
        )
    )
    assert same >= 45


def test_missing_weights_are_one_clear_line(tmp_path: Path) -> None:
    assert torch.is_tensor(load()._decoder.positions)
    with pytest.raises(Exception, match=r"no config\.json"):
        checkpoint.load(tmp_path)
