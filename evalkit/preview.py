"""What `evalkit prompt` prints: one prompt as the model gets it, and what became of its demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evalkit import prompt
from evalkit.assignment import Say, find, gather, ignore_text
from evalkit.errors import UsageError
from evalkit.interfaces import LanguageModel
from evalkit.prompt import Preview
from evalkit.report.table import clean, count
from evalkit.run import choose_window, demonstrations
from evalkit.settings import Settings
from evalkit.task import load


def show(settings: Settings, load_model: Callable[[], LanguageModel], *, example: str, say: Say = ignore_text) -> str:
    """Build the prompt of one example as a run builds it, with visible whitespace; `example` is an id or a place."""
    names = [task.name for name in settings.tasks for task in load(name, trusted=settings.trust_task_code, say=say)]
    if len(names) > 1:
        raise UsageError(f"--task: found {len(names)} tasks, expected one, such as {names[0]}")
    (assignment,) = gather(settings, say=say)
    (shots,) = assignment.shots
    chosen = find(assignment, example)
    model = load_model()
    job = (chosen, demonstrations(assignment, chosen, shots, settings.seed, mode=settings.demos))
    window = choose_window(settings, model)
    seen = prompt.preview(assignment.task, job, shots=shots, count_tokens=model.count_tokens, window=window)
    return "\n".join(_lines(seen, title=f"{assignment.task.name}, {chosen.id}", shots=shots))


def _lines(seen: Preview, *, title: str, shots: int) -> Sequence[str]:
    used = f"{len(seen.used)} of {count(shots, 'shot')}" + (f": {clean(', '.join(seen.used))}" if seen.used else "")
    return [
        clean(title),
        "",
        seen.text,
        "",
        f"answer          {' or '.join(seen.answers)}",
        f"tokens          {seen.tokens:,} and {seen.room:,} kept for the answer, of a window of {seen.window:,}",
        f"demonstrations  {used}",
        *([f"dropped         {clean(', '.join(seen.dropped))}"] if seen.dropped else []),
        *([] if seen.fits else ["does not fit the window even without demonstrations: a run counts and skips it"]),
    ]
