"""The same small model, tasks and documents give the same log-likelihoods and scores as in lm_eval 0.4.13."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.models.load import load
from evalkit.run import Outcome, run
from evalkit.settings import Settings
from tests import decoders, lm_eval_cases
from tests.lm_eval_cases import CASES

pytest.importorskip("lm_eval", reason="compared with lm_eval, which the extra `dev` installs")

WINDOW = 512
METRICS = {  # of each case: lm_eval's keys, in the order in which the task's file has the metrics
    "boolq": ("acc,none",),
    "winogrande": ("acc,none",),
    "arithmetic_2da": ("acc,none",),
    "prefix_of_choices": ("acc_norm,none", "acc_mutual_info,none"),
    "lambada_openai_cloze_yaml": ("perplexity,none", "acc,none"),
    "pile_arxiv": ("word_perplexity,none", "byte_perplexity,none", "bits_per_byte,none"),
    "several_right_choices": ("acc,none", "acc_norm,none"),
    "gsm8k": ("exact_match,strict-match", "exact_match,flexible-extract"),
    "wmt14-en-fr": ("bleu,none", "ter,none", "chrf,none"),
}
GENERATED = {  # fewer tokens than the files ask for
    "gsm8k": "generation_kwargs: {until: ['Question:', 'qq'], max_gen_toks: 24, do_sample: false}\n",
    "wmt14-en-fr": "generation_kwargs: {until: ['\\n'], max_gen_toks: 24}\n",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import datasets

    folder = tmp_path_factory.mktemp("gpt2")
    decoders.save_gpt2(folder, n_positions=WINDOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield folder


def theirs(path: Path, checkpoint: Path) -> Any:  # Any: of lm_eval
    from lm_eval import evaluator
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    from tests.lm_eval_model import Model

    logging.disable(logging.ERROR)
    config = {key: value for key, value in load_yaml(path).items() if key not in {"tag", "group"}}
    task = ConfigurableTask(config={**config, "num_fewshot": 0})
    model = Model(checkpoint, window=WINDOW)
    name = task.config.task
    results = evaluator.evaluate(model, {"tasks": {name: task}, "groups": {}, "group_map": {}}, bootstrap_iters=0)
    logging.disable(logging.NOTSET)
    return results["results"][name], results["samples"][name]


def ours(path: Path, checkpoint: Path, folder: Path) -> tuple[Outcome, list[dict[str, Any]]]:  # Any: JSON
    settings = Settings(tasks=(str(path),), model=str(checkpoint), trust_task_code=True, out=folder)
    outcome = run(settings, lambda: load(str(checkpoint), device="cpu"))
    lines = (outcome.directory / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return outcome, [json.loads(line) for line in lines]


@pytest.mark.parametrize("case", [case for case in CASES if case.name in METRICS], ids=lambda case: case.name)
def test_likelihoods_completions_and_scores_are_those_of_lm_eval(
    case: lm_eval_cases.Case, checkpoint: Path, tmp_path: Path
) -> None:
    path = lm_eval_cases.write(case, tmp_path)
    if case.name in GENERATED:
        path.write_text(path.read_text(encoding="utf-8") + GENERATED[case.name], encoding="utf-8")
    scores, their_samples = theirs(path, checkpoint)
    outcome, our_samples = ours(path, checkpoint, tmp_path / "run")
    by_document = {sample["doc_id"]: sample["resps"] for sample in their_samples}
    assert len(our_samples) == len(by_document)
    for number, sample in enumerate(our_samples):
        answers = [answer for [answer] in by_document[number]]
        if "text" in sample["responses"][0]:
            assert [each["text"] for each in sample["responses"]] == answers
            continue
        totals = [float(answer[0] if isinstance(answer, tuple | list) else answer) for answer in answers]
        assert [each["total"] for each in sample["responses"]] == pytest.approx(totals, abs=1e-3)
    expected = [scores[name] for name in METRICS[case.name]]
    assert [each.estimate and each.estimate.value for each in outcome.results] == pytest.approx(expected, rel=1e-4)
