"""The same tasks, documents and demonstrations give the same text, character by character, as in lm_eval 0.4.13."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit import prompt, request
from evalkit.lm_eval import documents, tasks
from evalkit.records import Example, Generate, LogLikelihood, Request, Rolling, Task
from tests import lm_eval_cases
from tests.lm_eval_cases import CASES, Case

WINDOW = 1_000_000


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


def theirs(path: Path) -> Any:  # Any: a task of lm_eval
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    config = {key: value for key, value in load_yaml(path).items() if key not in {"tag", "group"}}
    return ConfigurableTask(config=config)


def ours(path: Path) -> Task:
    [task] = tasks.load(str(path), trusted=True, say=lambda _: None)
    return task


def requests_of(task: Task, example: Example, demonstrations: list[Example]) -> list[Request]:
    """All that is asked of one example, as in a run."""
    [built] = prompt.build(
        task,
        [(example, demonstrations)],
        shots=len(demonstrations),
        count_tokens=lambda texts: [len(text) for text in texts],
        window=WINDOW,
    )
    assert built is not None
    return [each for group in request.build(task, example, built, seed=0).values() for each in group]


def written(each: Request) -> tuple[object, ...]:
    """What lm_eval's request holds of the same thing."""
    match each:
        case LogLikelihood():
            return each.context, each.continuation
        case Generate():
            return each.context, each.stop, each.max_tokens
        case Rolling():
            return (each.text,)


def asked(instance: Any) -> tuple[object, ...]:
    """The same of theirs: what is asked, without what only says how."""
    if instance.request_type != "generate_until":
        return tuple(instance.args)
    context, keys = instance.args
    length = keys.get("max_gen_toks") or keys.get("max_new_tokens") or 256
    return context, tuple(dict.fromkeys(text for text in keys["until"] if text)), length


def drawn(task: Any, document: object, *, shots: int, seed: int) -> list[object]:
    """The demonstrations that lm_eval's sampler draws with this seed."""
    task.set_fewshot_seed(seed)
    is_same = task.fewshot_cfg.split == task.config.test_split
    return list(task.sampler.sample(n=shots, eval_doc=document if is_same else None))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_prompts_and_continuations_are_those_of_lm_eval(case: Case, tmp_path: Path) -> None:
    path = lm_eval_cases.write(case, tmp_path)
    their_task, our_task = theirs(path), ours(path)
    examples = list(documents.examples(our_task.source))
    pool = [] if our_task.pool is None else list(documents.examples(our_task.pool))
    their_pool = list(their_task.fewshot_docs())
    assert len(examples) == len(their_task.eval_docs)
    for shots in sorted({0, case.shots}):
        for seed, (document, example) in enumerate(zip(their_task.eval_docs, examples, strict=True)):
            chosen = drawn(their_task, document, shots=shots, seed=seed)
            demonstrations = [pool[their_pool.index(each)] for each in chosen] if pool else []
            their_task.set_fewshot_seed(seed)
            context = their_task.fewshot_context(
                document, num_fewshot=shots, gen_prefix=their_task.doc_to_prefix(document)
            )
            made = their_task.construct_requests(document, context, metadata=(case.name, seed, 1))
            expected = [asked(each) for each in (made if isinstance(made, list) else [made])]
            assert [written(each) for each in requests_of(our_task, example, demonstrations)] == expected


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "pile_arxiv"], ids=lambda case: case.name)
def test_right_answers_are_those_of_lm_eval(case: Case, tmp_path: Path) -> None:
    path = lm_eval_cases.write(case, tmp_path)
    their_task, our_task = theirs(path), ours(path)
    for document, example in zip(their_task.eval_docs, documents.examples(our_task.source), strict=True):
        their_choices = their_task.doc_to_choice(document) if their_task.config.doc_to_choice else None
        gold = their_task.doc_to_text(document) if their_task.multiple_input else their_task.doc_to_target(document)
        answers = gold if isinstance(gold, list) else [gold]
        if their_choices is None:
            assert list(example.targets) == answers
        else:
            assert [example.choices.index(target) for target in example.targets] == answers


def test_the_separator_of_an_empty_demonstration_stays(tmp_path: Path) -> None:
    # lm_eval leaves out the delimiter after a demonstration without an answer, and two questions run together.
    case = Case(
        "empty",
        [{"q": "{n}?", "a": ""} for _ in range(4)],
        own="training_split: train\ntest_split: test\ndoc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n",
    )
    path = lm_eval_cases.write(case, tmp_path)
    their_task, our_task = theirs(path), ours(path)
    [first, *_], [demonstration, *_] = documents.examples(our_task.source), documents.examples(our_task.pool)
    [made] = requests_of(our_task, first, [demonstration])
    assert made.context == "0?\n\n200?"
    their_task.sampler.replace_df([{"q": "0?", "a": ""}])
    assert their_task.fewshot_context(their_task.eval_docs[0], num_fewshot=1) == "0?200?"


def test_shipped_files_keep_their_names_and_numbers_of_demonstrations() -> None:
    [task] = tasks.load("lm_eval:gsm8k", trusted=False, say=lambda _: None)
    assert (task.name, task.group, task.version, task.paper_shots) == ("gsm8k", None, 3, 5)
    assert [each.name for each in task.filters] == ["strict-match", "flexible-extract"]
    assert task.stop == ("Question:", "</s>", "<|im_end|>")
    assert task.metrics[0].endswith("@strict-match")
