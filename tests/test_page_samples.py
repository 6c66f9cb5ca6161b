import tracemalloc
from hashlib import sha256

import pytest
from hypothesis import given, settings, strategies

from evalkit.records import Example, Prompt, Sample
from evalkit.report.content import Page, ShownSample
from evalkit.report.page import packed as packing
from evalkit.report.page import page, samples
from tests import pages


def packed(shown: list[ShownSample], **limit: int) -> pages.Data:
    return pages.data("".join(page.render(Page("t", (), samples=shown), **limit)))


def prompted(context: str, fields: dict[str, object]) -> Sample:
    return Sample("t", 0, Example("e", fields, ("x",)), Prompt(context, (), 0, 1, 9), (), {})


@settings(max_examples=50, deadline=None)
@given(
    strategies.lists(strategies.text(strategies.characters(categories=["L", "C", "Z", "P"]) | strategies.just("\n")))
)
def test_every_prompt_and_answer_comes_back(texts: list[str]) -> None:
    shown = [pages.shown(f"e{at}", context=text, answer=text) for at, text in enumerate(texts)]
    if shown:
        found = packed(shown)
        assert [found.prompt(at) for at in range(len(texts))] == texts
        assert [record[2]["answers"][0]["text"] for record in found.records] == texts


def test_a_segment_that_prompts_share_is_stored_once() -> None:
    found = packed([pages.shown(f"e{at}", context=f"Q: 1?\nA: 2\n\nQ: is it {at}?\nA:") for at in range(9)])
    assert len(found.texts) == 10


def test_questions_come_before_what_precedes_them() -> None:
    found = packed([pages.shown(f"e{at}", context=f"demonstration\n\nQ: is it really {at}?") for at in range(3)])
    assert found.texts == ["Q: is it really 0?", "Q: is it really 1?", "Q: is it really 2?", "demonstration"]
    assert found.index["questions"] == 1


def test_many_samples_fill_several_blocks() -> None:
    texts = [f"{at} " + "x" * 100_000 for at in range(9)]
    found = packed([pages.shown(text[:1], context=text) for text in texts])
    assert len(found.index["starts"]["text"]) > 1
    assert [found.prompt(at) for at in range(9)] == texts


def test_a_sample_without_a_prompt_is_there() -> None:
    found = packed([pages.shown(context=None, is_right=None)])
    assert found.records[0][:2] == [[], 0]
    assert found.records[0][2]["prompt"] is None


def test_beyond_the_limit_dirty_samples_stay_then_wrong_ones_then_the_first() -> None:
    def noise(at: int) -> str:  # that does not compress
        return "".join(sha256(f"{at} {part}".encode()).hexdigest() for part in range(200))

    kinds = [(True, None), (True, None), (False, None), (True, True)] * 4
    shown = [
        pages.shown(f"e{at}", context=noise(at), is_right=is_right, is_dirty=is_dirty)
        for at, (is_right, is_dirty) in enumerate(kinds)
    ]
    html = "".join(page.render(Page("t", (), samples=shown), limit=90_000))
    kept = pages.data(html).index["columns"]["id"]
    assert {"e3", "e7", "e11", "e15"} <= set(kept)
    assert {"e2", "e6", "e10", "e14"} & set(kept)
    assert kept == sorted(kept, key=lambda name: int(name[1:]))
    assert not {"e0", "e1", "e4"} & set(kept) or {"e2", "e6", "e10", "e14"} <= set(kept)
    assert sum(len(content) for _, content in pages.BLOCK.findall(html)) <= 90_000
    assert f"{len(kept)} of 16 samples" in html
    assert "samples.jsonl has them all" in html


def test_texts_of_samples_that_are_left_out_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MEMORY", 1_000_000)
    tracemalloc.start()
    packing.pack(pages.shown(f"e{at}", context=f"{at} " + "x" * 500_000) for at in range(40))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000  # characters; all texts together have 20 million


@pytest.mark.parametrize(
    ("context", "fields", "own"),
    [
        ("Q: What is 6 plus 35?\n\nA:", {"question": "6 plus 35"}, 2),
        ("Q: What is 9 plus 9?\n\nA: 18\n\nQ: What is 6 plus 35?\n\nA:", {"question": "6 plus 35"}, 2),
        ("Shown.\n\nOne paragraph.\n\nAnother one.\n\nQ: why?", {"passage": "One paragraph.\n\nAnother one."}, 3),
        ("Shown.\n\nQ: 1 + 1?\nA:", {}, 1),
        ("Shown.\n\nQ: 1 + 1?\n\nA:", {}, 2),
    ],
)
def test_the_question_is_told_from_what_precedes_it(context: str, fields: dict[str, object], own: int) -> None:
    found, count = samples.segments(prompted(context, fields))
    assert "\n\n".join(found) == context
    assert count == own


def test_links_to_samples_do_not_depend_on_the_page() -> None:
    one, other = pages.shown("a"), pages.shown("b")
    assert packed([one, other]).index["columns"]["anchor"] == [samples.anchor(one), samples.anchor(other)]
    assert packed([other]).index["columns"]["anchor"] == [samples.anchor(other)]
    assert samples.anchor(one) != samples.anchor(pages.shown("a", shots=1))
