import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest

from evalkit import dataset, fewshot, prompt, task
from evalkit.errors import TaskError, UsageError
from evalkit.records import DemonstrationMode, Example, Prompt, Task
from tests.conftest import count_pieces, item

TASKS = task.load("arithmetic")
BOOLQ = "{{ passage }}\nquestion: {{ question }}?\nanswer:"  # Brown 2020, Figure G.29


def build_one(
    each: Task, example: Example, demonstrations: Sequence[Example] = (), *, window: int = 2048
) -> Prompt | None:
    jobs = [(example, demonstrations)]
    [built] = prompt.build(each, jobs, shots=len(demonstrations), count_tokens=count_pieces, window=window)
    return built


def context(each: Task, example: Example, demonstrations: Sequence[Example] = ()) -> str:
    built = build_one(each, example, demonstrations)
    assert built is not None
    return built.context


@cache
def load_arithmetic(name: str) -> tuple[tuple[Example, ...], fewshot.Pool]:
    [each] = task.load(name)
    assert each.pool is not None
    return dataset.load(each.source, task=each), fewshot.prepare(dataset.load(each.pool, task=each), task=each)


def draw_jobs(each: Task, *, shots: int, limit: int, mode: DemonstrationMode = "per-example") -> list[prompt.Job]:
    examples, pool = load_arithmetic(each.name)
    return [(example, fewshot.draw(pool, example, shots=shots, seed=0, mode=mode)) for example in examples[:limit]]


@pytest.mark.parametrize("shots", [0, 1, 2])
def test_arithmetic_prompts_are_the_golden_ones(golden: Callable[[str, str], None], shots: int) -> None:
    shown = []
    for each in TASKS:
        [(example, demonstrations)] = draw_jobs(each, shots=shots, limit=1)
        text = context(each, example, demonstrations)
        shown.append(f"[{each.name}]\n{prompt.visible(text)}|{prompt.visible(example.targets[0])}\n")
    golden(f"arithmetic-{shots}-shot.txt", "\n".join(shown))


@pytest.mark.parametrize("shots", [0, 1, 2])
def test_described_prompts_are_the_golden_ones(golden: Callable[[str, str], None], quiz: Task, shots: int) -> None:
    each = replace(quiz, template=BOOLQ, description="Read and answer.")
    rows = [Example(f"id{n}", {"passage": f"Title -- Text {n}.", "question": f"is it {n}"}, (" no",)) for n in range(3)]
    golden(f"boolq-{shots}-shot.txt", prompt.visible(context(each, rows[0], rows[1 : 1 + shots])) + "|\n")


def test_arithmetic_has_the_released_form() -> None:
    # openai/gpt-3, data/two_digit_addition.jsonl: lines are joined without anything between them.
    first, second = (item(1, text="98 plus 45", target=" 143"), item(2, text="95 plus 58", target=" 153"))
    expected = "\n\nQ: What is 98 plus 45?\n\nA: 143\n\nQ: What is 95 plus 58?\n\nA:"
    assert context(TASKS[0], second, [first]) == expected


def test_a_question_of_its_own_is_shown_as_it_stands() -> None:
    rows = [Example(f"id{n}", {}, (f" {n + 1}",), question=f"\n\nQ: What is {n} plus 1?\n\nA:") for n in range(2)]
    assert context(TASKS[0], rows[1], rows[:1]) == "\n\nQ: What is 0 plus 1?\n\nA: 1\n\nQ: What is 1 plus 1?\n\nA:"


def test_verbatim_texts_are_joined_as_they_stand(quiz: Task) -> None:
    each = replace(quiz, is_verbatim=True, description="Answer. ", separator="\n\n", template="Q: {{ question }} A: ")
    # lm_eval: description, then text, target and delimiter of each demonstration, then the question.
    assert context(each, item(2), [item(1)]) == "Answer. Q: word1 A:  yes\n\nQ: word2 A: "


def test_an_examples_own_description_goes_before_the_tasks(quiz: Task) -> None:
    assert context(quiz, replace(item(1), description="Be quick.")).startswith("Be quick.\n\n")


@pytest.mark.parametrize("mode", ["per-example", "fixed", "grouped", "balanced", "first"])
def test_prompts_do_not_depend_on_what_else_is_built(mode: DemonstrationMode) -> None:
    jobs = draw_jobs(TASKS[0], shots=5, limit=600, mode=mode)

    def built(part: Sequence[prompt.Job]) -> dict[str, Prompt | None]:
        prompts = prompt.build(TASKS[0], part, shots=5, count_tokens=count_pieces, window=60)
        return {example.id: each for (example, _), each in zip(part, prompts, strict=True)}

    everything = built(jobs)
    for part in (jobs[::-1], jobs[:17], jobs[300:310], jobs[::7]):
        assert built(part) == {example.id: everything[example.id] for example, _ in part}


def test_every_prompt_keeps_as_many_demonstrations_as_fit(quiz: Task) -> None:
    """Compare with dropping one demonstration after the other, for lengths of all sorts."""
    demonstrations = [item(number, text="word " * (number * 7 % 23 + 1)) for number in range(20)]
    example = item(99)
    for window in range(5, 400, 3):
        expected = None
        for dropped in range(21):
            parts = [each.fields["question"] for each in demonstrations[dropped:]]
            written = [f"Question: {text}\nAnswer: yes" for text in parts]
            text = "\n\n".join(["Answer the questions.", *written, "Question: word99\nAnswer:"])
            if count_pieces([text])[0] + quiz.max_tokens <= window:
                expected = text
                break
        built = build_one(quiz, example, demonstrations, window=window)
        if expected is None:
            assert built is None
            continue
        assert built is not None
        assert built.context == expected
        assert built.tokens == count_pieces([expected])[0]
        assert built.demonstrations == tuple(f"id{number}" for number in range(20 - built.shots_used, 20))
        assert (built.shots_asked, built.window) == (20, window)


def test_window_is_kept_where_joined_parts_take_more_tokens_than_their_sum(quiz: Task) -> None:
    def count(texts: Sequence[str]) -> list[int]:
        return [1 + len(text) * len(text) // 500 for text in texts]

    demonstrations = [item(number) for number in range(30)]
    for window in (20, 60, 200, 700, 2000):
        [built] = prompt.build(quiz, [(item(99), demonstrations)], shots=30, count_tokens=count, window=window)
        assert built is not None
        fitting = [
            count([context(quiz, item(99), demonstrations[30 - kept :])])[0] + quiz.max_tokens <= window
            for kept in range(31)
        ]
        assert built.shots_used == max(kept for kept in range(31) if fitting[kept])


def test_room_is_kept_for_the_longest_answer(quiz: Task) -> None:
    each = replace(quiz, kind="choice", metrics=("accuracy",))
    example = replace(item(1), choices=(" no", " yes , of course it is"))  # 1 and 6 tokens
    needed = count_pieces([context(quiz, example) + " yes , of course it is"])[0]
    assert build_one(each, example, window=needed) is not None
    assert build_one(each, example, window=needed - 1) is None


def test_room_of_a_generation_is_its_longest(quiz: Task) -> None:
    needed = count_pieces([context(quiz, item(1))])[0] + quiz.max_tokens
    assert build_one(quiz, item(1), window=needed) is not None
    assert build_one(quiz, item(1), window=needed - 1) is None


def test_one_that_does_not_fit_leaves_the_others(quiz: Task) -> None:
    jobs: list[prompt.Job] = [(item(1), ()), (item(2, text="word " * 100), ()), (item(3), ())]
    built = prompt.build(quiz, jobs, shots=0, count_tokens=count_pieces, window=50)
    assert [each is None for each in built] == [False, True, False]


def test_cut_prompt_is_the_prompt_of_fewer_shots() -> None:
    [(example, many)] = draw_jobs(TASKS[0], shots=50, limit=1)
    cut = build_one(TASKS[0], example, many, window=200)
    assert cut is not None
    assert 0 < cut.shots_used < 50
    [(_, few)] = draw_jobs(TASKS[0], shots=cut.shots_used, limit=1)
    assert context(TASKS[0], example, few) == cut.context


@pytest.mark.parametrize("tail", [" ", "\n", "\t \n"])
def test_context_never_ends_in_whitespace(quiz: Task, tail: str) -> None:
    each = replace(quiz, template="{{ question }}", stop=("END",))
    example = item(1, text=f"why?{tail}", target=" because")
    assert context(each, example) == "Answer the questions.\n\nwhy?"
    assert prompt.continuation(each, example, " because") == f"{tail}because"
    assert context(each, item(2), [example]) == f"Answer the questions.\n\nwhy?{tail}because\n\nword2"


def test_stop_string_that_would_end_every_answer_is_refused(quiz: Task) -> None:
    with pytest.raises(TaskError, match=r"quiz: the template ends in .* end the template before it, or change 'stop'"):
        build_one(replace(quiz, template="{{ question }}\n\n"), item(1))


def test_question_without_text_is_refused(quiz: Task) -> None:
    with pytest.raises(TaskError, match="quiz: template: found nothing of example id1 before its answer"):
        build_one(replace(quiz, template="{{ question }}"), Example("id1", {"question": " "}, (" a",)))


def test_likelihood_of_a_whole_text_needs_no_context(quiz: Task) -> None:
    each = replace(quiz, template="", description="", kind="loglikelihood")
    assert context(each, item(1)) == ""


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            "{{ quesion }}",
            "quiz: template: 'quesion' is undefined; fields found: answer, empty, question; did you mean 'question'?",
        ),
        (
            "{{ question.text }}",
            "quiz: template: 'str object' has no attribute 'text'; fields found: answer, empty, question",
        ),
        ("{{ cycler }}", "quiz: template: 'cycler' is undefined; fields found: answer, empty, question"),
        (
            "{{ cycler.__init__.__globals__ }}",
            "quiz: template: not allowed in a template: access to attribute '__init__'",
        ),
        (
            "{{ question.__class__.__mro__ }}",
            "quiz: template: not allowed in a template: access to attribute '__class__'",
        ),
        ("{{ range.__globals__ }}", "quiz: template: not allowed in a template: access to attribute '__globals__'"),
        ("{{ answer.append('x') }}", "quiz: template: not allowed in a template: "),
        ("{{ range(10**9) }}", "quiz: template: OverflowError: "),
        (
            "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}",
            "quiz: template: OverflowError: found more than 100,000 steps in ranges",
        ),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "quiz: template: RecursionError: "),
        ("{{ none }}", "quiz: template: found no value in a part of example x, expected"),
        ("{{ empty }}", "quiz: template: found no value in field 'empty' of example x, expected something to show"),
        ("{{ 'x' * 10**9 }}", "quiz: template: OverflowError: found a text of 1,000,000,000 characters"),
        ("{{ 'x'.center(10**10) }}", "quiz: template: OverflowError: found a text of 10,000,000,000 characters"),
        ("{{ 9**(9**9) }}", "quiz: template: OverflowError: found a power of more than 4,096 bits"),
        ("{{ '%30000000d' % 3 }}", "quiz: template: OverflowError: found a text of 30,000,000 characters"),
        ("{{ '%030000000d' | format(3) }}", "quiz: template: OverflowError: found a text of 30,000,000 characters"),
        ("{{ '%.30000000f' % 3 }}", "quiz: template: OverflowError: found a text of 30,000,000 characters"),
        ("{{ '%%%(a)30000000d' % {'a': 3} }}", "quiz: template: OverflowError: found a text of 30,000,000 characters"),
        ("{{ '%l%%30000000d' % 3 }}", "quiz: template: OverflowError: found a text of 30,000,000 characters"),
        ("{{ '%*d' % (30000000, 3) }}", "quiz: template: OverflowError: found a format with a * or nested"),
        ("{{ '%(a(b))30000000d' % {'a(b)': 3} }}", "quiz: template: OverflowError: found a format with a * or nested"),
        ("{{ '{:>30000000}'.format(3) }}", "quiz: template: OverflowError: found a text of 30,000,000 characters"),
        ("{{ '{:.30000000f}'.format(3) }}", "quiz: template: OverflowError: found a text of 30,000,000 characters"),
        ("{{ '{:{}}'.format(3, 30000000) }}", "quiz: template: OverflowError: found a format within a format"),
        ("{{ 'x' | center(30000000) }}", "quiz: template: OverflowError: found a text of 30,000,000 characters"),
        ("{{ 'x' | center(width=30000000) }}", "quiz: template: OverflowError: found a text of 30,000,000 characters"),
        ("{{ 'x\ny' | indent(30000000) }}", "quiz: template: OverflowError: found a text of 90,000,000 characters"),
        ("{{ ('x' * 6000).replace('', 'y' * 6000) }}", "quiz: template: OverflowError: found a text of 36,006,000"),
        ("{{ ('x' * 6000) | replace('x', 'y' * 6000) }}", "quiz: template: OverflowError: found a text of 35,994,000"),
        ("{{ 1 / 0 }}", "quiz: template: ZeroDivisionError: division by zero"),
        ("{% include 'secret' %}", "quiz: template: TypeError: no loader for this environment specified"),
        ("{% if %}", "template, line 1: broken template: "),
        ("{{ [1, 2] | random }}", "template, line 1: broken template: No filter named 'random'"),
    ],
)
def test_template_that_fails_is_named_with_its_field(quiz: Task, template: str, expected: str) -> None:
    with pytest.raises(TaskError) as caught:
        build_one(
            replace(quiz, template=template), Example("x", {"question": "q", "answer": ["a"], "empty": None}, (" a",))
        )
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{ 'Zip: 12345, %s' % question }}", "Zip: 12345, q"),
        ("{{ '100%% of 1234567: %-5s.' % question }}", "100% of 1234567: q    ."),
        ("{{ 'Population: 1000000 in {}'.format(question) }}", "Population: 1000000 in q"),
        ("{{ 'Zip: 12345, {:>3}'.format(question) }}", "Zip: 12345,   q"),
        ("{{ question | center(3) }}.{{ '%s!' | format(question) }}", " q .q!"),
        ("{{ 'a\nb' | indent(2, first=true) }}", "  a\n  b"),
        ("{{ 'aaa' | replace('a', 'b', 2) }}{{ 'aaa'.replace('a', 'c', 1) }}", "bbacaa"),
        ("{% macro show(context) %}<{{ context }}>{% endmacro %}{{ show(context=question) }}", "<q>"),
        ("{% macro show(obj) %}<{{ obj }}>{% endmacro %}{{ show(obj=question) }}", "<q>"),
    ],
)
def test_plain_formats_and_any_names_of_arguments_are_shown(quiz: Task, template: str, shown: str) -> None:
    bare = replace(quiz, template=template, description="")
    assert context(bare, Example("x", {"question": "q"}, (" a",))) == shown


def test_choices_can_be_shown(quiz: Task) -> None:
    each = replace(quiz, template="{{ question }}{% for choice in choices %} ({{ choice.strip() }}){% endfor %}")
    assert context(each, replace(item(1), choices=(" no", " yes"))).endswith("word1 (no) (yes)")


def test_block_tags_leave_no_lines(quiz: Task) -> None:
    each = replace(quiz, template="{% if question %}\nQ: {{ question }}\n{% endif %}\nA:\n", description="")
    assert context(each, item(1)) == "Q: word1\nA:"


def test_what_would_act_on_a_terminal_is_shown_as_its_escape() -> None:
    assert prompt.visible("a\x1b[1m\0\u202eb\ud800é語") == "a\\x1b[1m\\x00\\u202eb\\ud800é語"


def test_window_below_one_is_refused(quiz: Task) -> None:
    with pytest.raises(UsageError, match="found a window of 0 tokens"):
        build_one(quiz, item(1), window=0)


def test_preview_tells_what_was_kept_and_dropped(quiz: Task) -> None:
    demonstrations = [item(number) for number in range(4)]
    shown = prompt.preview(quiz, (item(9), demonstrations), shots=4, count_tokens=count_pieces, window=35)
    assert shown.fits
    assert (shown.dropped, shown.used) == (("id0", "id1"), ("id2", "id3"))
    assert shown.text.startswith("Answer·the·questions.⏎\n⏎\nQuestion:·word2⏎\nAnswer:·yes⏎\n⏎\nQuestion:·word3")
    assert (shown.tokens, shown.room, shown.window) == (31, 4, 35)
    assert shown.answers == ("·yes",)


def test_preview_of_what_does_not_fit_shows_the_example_alone(quiz: Task) -> None:
    shown = prompt.preview(quiz, (item(9), [item(1)]), shots=1, count_tokens=count_pieces, window=3)
    assert not shown.fits
    assert shown.text == "Answer·the·questions.⏎\n⏎\nQuestion:·word9⏎\nAnswer:"
    assert (shown.used, shown.dropped) == ((), ("id1",))


def test_tokens_are_counted_in_few_calls(quiz: Task) -> None:
    calls = []

    def count(texts: Sequence[str]) -> list[int]:
        calls.append(len(texts))
        return count_pieces(texts)

    demonstrations = [item(number) for number in range(50)]
    jobs = [(item(100 + number), demonstrations) for number in range(200)]
    prompt.build(quiz, jobs, shots=50, count_tokens=count, window=200)
    assert len(calls) <= 4
    assert sum(calls) < 3 * len(jobs) + 100


def test_building_costs_little() -> None:
    jobs = draw_jobs(TASKS[0], shots=50, limit=300)
    start = time.process_time()
    prompt.build(TASKS[0], jobs, shots=50, count_tokens=lambda texts: [len(text) // 3 for text in texts], window=300)
    assert (time.process_time() - start) / len(jobs) < 0.001
