"""What nano has read: the whole corpus of its recipe replayed, and counted against the default test problems.

python benchmarks/nano_reading.py
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from evalkit.arithmetic import KINDS, Problem, test_problems
from evalkit.decoder.packing import Document, PackingState, pack
from evalkit.nano import recipe
from evalkit.nano.corpus import TEST_SEED, TEST_SIZE, SectionDocuments, problems

AT_ONCE = 2**20  # tokens


@dataclass
class Recorder:
    """The documents of a section, with every problem in them noted."""

    documents: SectionDocuments
    seen: Counter[Problem] = field(default_factory=Counter)

    def document(self, number: int) -> Document:
        """Give a document and note what is in it."""
        self.seen.update(problems(self.documents.section, number, seed=self.documents.seed))
        return self.documents.document(number)


def main() -> None:
    """Replay all stages and print a line a task."""
    training = recipe.training()
    seen: Counter[Problem] = Counter()
    for stage in training.stages:
        assert isinstance(stage.documents, SectionDocuments)
        recorder, state, left = Recorder(stage.documents), PackingState(), stage.tokens
        while left > 0:
            rows = max(1, min(left, AT_ONCE) // stage.length)
            _, _, state = pack(
                recorder, state, rows=rows, length=stage.length, end_of_text=training.tokenizer.end_of_text
            )
            left -= rows * stage.length
        seen += recorder.seen
    print(f"{sum(seen.values()):,} problems in {training.tokens / 1e6:.0f}M tokens, {len(seen):,} different")
    print(f"{'task':<24}{'withheld':>10}{'of those read':>15}{'others':>8}{'of those read':>15}{'times each':>12}")
    for kind in KINDS.values():
        asked = test_problems(kind, seed=TEST_SEED, n=TEST_SIZE)
        withheld = [problem for problem in asked if problem.is_withheld]
        others = [problem for problem in asked if not problem.is_withheld]
        times = [seen[problem] for problem in others]
        print(
            f"{kind.name:<24}{len(withheld):>10}{sum(seen[p] > 0 for p in withheld):>15}{len(others):>8}"
            f"{sum(n > 0 for n in times):>15}{sum(times) / len(times):>12.1f}"
        )


if __name__ == "__main__":
    main()
