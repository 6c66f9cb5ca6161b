"""Turn a prompt into what a model is asked."""

from __future__ import annotations

from evalkit.prompt import answers
from evalkit.records import Example, Generate, LogLikelihood, Prompt, Request, Task
from evalkit.text import generator


def build(task: Task, example: Example, prompt: Prompt, *, seed: int) -> tuple[Request, ...]:
    """Build the requests of one example: one generation, or one likelihood a choice (a target where it has no choices).

    Likelihoods are in the order of the choices. A generation's own seed depends on the seed, the task's name and the
    example's id alone.
    """
    if task.kind == "generate":
        own = generator("request", seed, task.name, example.id).getrandbits(63)  # what a signed 64-bit integer holds
        return (Generate(prompt.context, task.stop, task.max_tokens, task.decoding, own),)
    return tuple(LogLikelihood(prompt.context, continuation) for continuation in answers(task, example))
