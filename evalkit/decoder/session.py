"""One call of the engine: jobs in, answers out as they are there, every shared stretch of tokens computed once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from evalkit.decoder import finite, generation, rolling
from evalkit.decoder.batches import Batch, batches, columns
from evalkit.decoder.cache import KVCache
from evalkit.decoder.device import Budget, reported_memory
from evalkit.decoder.forest import Forest, Level
from evalkit.decoder.generation import Growing, Row
from evalkit.decoder.model import Decoder
from evalkit.decoder.pools import Pools
from evalkit.decoder.scoring import score_tokens
from evalkit.decoder.spans import Span
from evalkit.decoder.tokenizer import Tokenizer
from evalkit.decoder.tree import Node, build
from evalkit.errors import ModelMemoryError
from evalkit.interfaces import OnResponse
from evalkit.records import Generate, LogProb, PerToken, Request, Response, Rolling, TokenScores

REFILLED = 0.5  # share of answers still growing at which the next prompts are computed


@dataclass(frozen=True, slots=True)
class Job:
    """A request as token ids."""

    owner: int  # its place among the requests
    request: Request
    spans: tuple[Span, ...]  # one, or the windows of its text
    texts: tuple[str, ...] = ()  # of the tokens that are scored, where they are asked for

    @property
    def tokens(self) -> int:
        """Tokens to score."""
        return sum(len(span.ids) - span.start for span in self.spans)


class Target(NamedTuple):
    """A token to score."""

    job: int
    place: int  # among the tokens of the job that are scored
    token: int


class Score:
    """What is found of a job's tokens, as it comes."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.left = tokens = job.tokens
        self.logprobs = [0.0] * tokens
        self.is_greedy = True
        self.is_described = isinstance(job.request, PerToken)
        self.ranks = [0] * tokens if self.is_described else []
        self.entropies = [0.0] * tokens if self.is_described else []
        self.variances = [0.0] * tokens if self.is_described else []

    def response(self) -> Response:
        """Give the answer of a job whose tokens are all scored."""
        if self.is_described:
            return TokenScores(
                texts=self.job.texts,
                logprobs=tuple(self.logprobs),
                ranks=tuple(self.ranks),
                entropies=tuple(self.entropies),
                variances=tuple(self.variances),
            )
        span = self.job.spans[0] if self.job.spans else None
        found = LogProb(
            total=math.fsum(self.logprobs),
            tokens=len(self.logprobs),
            bytes=0 if span is None else span.bytes,
            is_greedy=self.is_greedy,
            boundary_merged=span is not None and span.boundary_merged,
        )
        return rolling.total(self.job.request, [found]) if isinstance(self.job.request, Rolling) else found


class Session:
    """Answers one list of jobs."""

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer, *, name: str, window: int, budget: Budget) -> None:
        """Answer with a decoder; errors call it `name`."""
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._name = name
        self._window = window
        self._budget = budget

    def answer(self, jobs: Sequence[Job], keep: OnResponse) -> None:
        """Answer all jobs, in whatever order is the fastest; ModelMemoryError where one alone exceeds the memory.

        After a batch that was too large, what is not answered is planned again with half of its tokens.
        """
        waiting = {job.owner: job for job in jobs}

        def answered(owner: int, response: Response) -> None:
            del waiting[owner]
            keep(owner, response)

        while waiting:
            work = self._work(list(waiting.values()))
            try:
                with reported_memory():
                    work.run(answered)
            except ModelMemoryError:
                if work.give_up():
                    continue
                if work.is_single:
                    raise
                self._budget.halve(work.tokens)

    def stream(self, job: Job) -> Iterator[str]:
        """Generate one answer and yield its text as it comes."""
        yield from self._work([job]).stream()

    def _work(self, jobs: Sequence[Job]) -> Work:
        return Work(
            self._decoder,
            self._tokenizer,
            jobs,
            name=self._name,
            window=self._window,
            budget=self._budget,
        )


class Work:
    """What is to be computed for jobs, and what was."""

    def __init__(
        self, decoder: Decoder, tokenizer: Tokenizer, jobs: Sequence[Job], *, name: str, window: int, budget: Budget
    ) -> None:
        """Plan how to compute jobs within a budget."""
        self._decoder = decoder
        self._name = name
        self._tokenizer = tokenizer
        self._window = window
        self._budget = budget
        self._jobs = jobs
        self._scores = [Score(job) for job in jobs]
        self._begun: dict[int, list[int]] = {}  # id of a node -> jobs whose prompt it ends
        self._asked: dict[int, dict[int, list[Target]]] = {}  # id of a node -> position -> what is predicted there
        self._prefixes: list[tuple[Node, KVCache]] = []  # the stretches that the current trees follow
        self._pool = Pools(decoder, name=name)
        self._owners: dict[int, int] = {}  # id of an answer that grows -> its job
        self._trees = self._plan()
        self.is_single = False  # whether what is computed now is one sequence alone
        self.tokens = 0  # that are computed now

    def run(self, keep: OnResponse) -> None:
        """Compute everything, batch by batch."""
        if self._decoder.tokens.dtype == torch.bfloat16:  # of which packed weights serve prompts as well
            self._decoder.pack()
        for score in self._scores:
            if not score.left and not isinstance(score.job.request, Generate):
                keep(score.job.owner, score.response())
        prefix: tuple[Node, ...] = ()
        for batch in batches(self._trees, budget=self._budget, reserve=self._reserve):
            if batch.prefix != prefix:
                self._grow(keep, until=0)
                prefix = batch.prefix
            self._compute(batch, keep)
            self._refill(keep)
        self._grow(keep, until=0)

    def stream(self) -> Iterator[str]:
        """Compute the one answer, yielding its text."""
        [batch] = batches(self._trees, budget=self._budget, reserve=self._reserve)
        self._compute(batch, lambda _owner, _response: None)
        for member in tuple(self._pool.members):  # none where the answer may have no tokens
            assert isinstance(member, Row)
            while not member.is_done:
                self._pool.step()
                yield member.news()

    def give_up(self) -> bool:
        """Forget what is computed now; say whether that gave memory back which is kept for answers to come."""
        return self._pool.give_up()

    def _plan(self) -> list[Node]:
        """Make the trees, and note what is asked at which position of which node."""
        owners = [(at, span, first) for at, job in enumerate(self._jobs) for span, first in _placed(job)]
        is_prompt = [isinstance(self._jobs[at].request, Generate) for at, _, _ in owners]
        # The last token of what is scored predicts nothing that is asked for, so it is not computed.
        trees = build(
            [span.ids if whole else span.ids[:-1] for (_, span, _), whole in zip(owners, is_prompt, strict=True)]
        )
        for tree in trees:
            for node in tree.walk():
                for place in node.jobs:
                    at, span, first = owners[place]
                    if is_prompt[place]:
                        self._begun.setdefault(id(node), []).append(at)
                        self._asked.setdefault(id(node), {}).setdefault(node.end - 1, [])
                    else:
                        self._ask(node, at, span, first=first)
        return trees

    def _ask(self, node: Node, at: int, span: Span, *, first: int) -> None:
        """Note the positions before a span's targets, in the node that it ends with and in those above.

        `first` is the place of the first of them among the job's tokens.
        """
        step: Node | None = node
        position = len(span.ids) - 2
        while step is not None and position >= span.start - 1:
            asked = self._asked.setdefault(id(step), {})
            while position >= max(step.begin, span.start - 1):
                target = Target(at, first + position + 1 - span.start, span.ids[position + 1])
                asked.setdefault(position, []).append(target)
                position -= 1
            step = step.parent

    def _reserve(self, tree: Node) -> int:
        """Count the tokens that the answers after a tree's prompts need."""
        begun = (at for node in tree.walk() for at in self._begun.get(id(node), ()))
        return sum(self._held(at, after=tree.begin) for at in begun)

    def _held(self, at: int, *, after: int) -> int:
        """Count the tokens that the rows of an answer hold in the end, beside a prefix of `after` tokens."""
        request = self._jobs[at].request
        assert isinstance(request, Generate)
        return request.decoding.beams * (len(self._jobs[at].spans[0].ids) - after + self._limit(at))

    def _compute(self, batch: Batch, keep: OnResponse) -> None:
        """Score what a batch asks for, and let the answers to its prompts begin."""
        nodes = [node for tree in batch.trees for node in tree.walk()]
        self.tokens = max(len(batch.trees) * max(map(columns, batch.trees)), sum(map(self._reserve, batch.trees)))
        prefix = self._prefix(batch.prefix, keep)
        self.is_single = len(nodes) == 1 and not self._pool.growing
        wanted = {id(node): sorted(self._asked.get(id(node), ())) for node in nodes}
        has_prompts = any(id(node) in self._begun for node in nodes)
        room = self._room(batch.trees)
        forest = Forest(self._decoder, batch.trees, wanted, prefix=prefix, is_kept=has_prompts, room=room)
        begun: list[tuple[Node, torch.Tensor]] = []
        for level in forest.levels():
            begun += self._score(level, wanted, keep)
        if begun:
            self._begin(begun, forest, keep)

    def _room(self, trees: Sequence[Node]) -> int:
        """Count the tokens that come after each row, where rows are prompts and an answer begins after each of them."""
        begun = [self._begun.get(id(tree), []) for tree in trees if not tree.children]
        if self._budget.was_halved or len(begun) < len(trees) or any(len(jobs) != 1 for jobs in begun):
            return 0
        return max(self._limit(at) for [at] in begun)

    def _prefix(self, stretches: tuple[Node, ...], keep: OnResponse) -> KVCache | None:
        """Compute the stretches that trees follow, or take what is there of them."""
        same = 0
        while same < min(len(self._prefixes), len(stretches)) and self._prefixes[same][0] is stretches[same]:
            same += 1
        del self._prefixes[same:]
        for stretch in stretches[same:]:
            self._prefixes.append((stretch, self._extend(stretch, keep)))
        return self._prefixes[-1][1] if self._prefixes else None

    def _extend(self, stretch: Node, keep: OnResponse) -> KVCache:
        """Compute a stretch after those before it, in a cache of one row."""
        self.is_single = True
        wanted = {id(stretch): sorted(self._asked.get(id(stretch), ()))}
        alone = Node(stretch.ids, stretch.begin, stretch.end)
        if self._prefixes:
            before = self._prefixes[-1][1]
            cache = before.extract([0], [[range(before.longest)]], capacity=before.longest + alone.length)
        else:
            config, device, dtype = self._decoder.config, self._decoder.tokens.device, self._decoder.tokens.dtype
            cache = KVCache(config, rows=1, capacity=alone.length, device=device, dtype=dtype)
        places = [position - stretch.begin for position in wanted[id(stretch)]]
        tokens = torch.tensor([alone.tokens], device=self._decoder.tokens.device)
        asked = torch.tensor([places or [0]], device=tokens.device)
        hidden = self._decoder(tokens, cache=cache, wanted=asked)[0][: len(places)]
        cache.set_lengths([cache.longest + alone.length])
        self._score(Level([stretch], hidden), wanted, keep)
        for jobs in self._portions(self._begun.get(id(stretch), ()), after=stretch.end):
            self.is_single = len(jobs) == 1
            after = KVCache(
                cache.config,
                rows=len(jobs),
                capacity=max(map(self._limit, jobs)),
                device=tokens.device,
                dtype=hidden.dtype,
                prefix=cache,
            )
            self._admit(jobs, after, hidden[-1:].expand(len(jobs), -1), keep)
            self._grow(keep, until=0)
        return cache

    def _portions(self, jobs: Sequence[int], *, after: int) -> Iterator[list[int]]:
        """Divide jobs whose answers begin into as many as may grow at once: all, until memory has run out."""
        portion: list[int] = []
        held = 0
        for at in jobs:
            held += self._held(at, after=after)
            if portion and self._budget.was_halved and held > self._budget.kept:
                yield portion
                portion, held = [], self._held(at, after=after)
            portion.append(at)
        if portion:
            yield portion

    def _score(self, level: Level, wanted: dict[int, list[int]], keep: OnResponse) -> list[tuple[Node, torch.Tensor]]:
        """Score the targets of a level; give the nodes that end prompts, with their last hidden state."""
        rows: list[int] = []  # of the hidden states that have targets, and of each target its place among these
        places: list[int] = []
        targets: list[Target] = []
        begun = []
        row = 0
        for node in level.nodes:
            asked = self._asked.get(id(node), {})
            for position in wanted[id(node)]:
                if asked[position]:
                    places += [len(rows)] * len(asked[position])
                    targets += asked[position]
                    rows.append(row)
                row += 1
            if id(node) in self._begun:
                begun.append((node, level.hidden[row - 1]))
        if rows:
            hidden = level.hidden[torch.tensor(rows, device=level.hidden.device)]
            described = [at for at, target in enumerate(targets) if self._scores[target.job].is_described]
            found = score_tokens(
                self._decoder, hidden, rows=places, targets=[target.token for target in targets], described=described
            )
            finite.check(found.logprobs, name=self._name, dtype=self._decoder.tokens.dtype)
            more = iter(zip(found.ranks, found.entropies, found.variances, strict=True))
            for target, logprob, is_greedy in zip(targets, found.logprobs, found.greedy, strict=True):
                score = self._scores[target.job]
                score.logprobs[target.place] = logprob
                score.is_greedy &= is_greedy
                if score.is_described:
                    at = target.place
                    score.ranks[at], score.entropies[at], score.variances[at] = next(more)
                score.left -= 1
                if not score.left:
                    keep(score.job.owner, score.response())
        return begun

    def _limit(self, at: int) -> int:
        """Count the tokens that an answer may have."""
        request = self._jobs[at].request
        assert isinstance(request, Generate)
        return min(request.max_tokens, self._window - len(self._jobs[at].spans[0].ids))

    def _begin(self, begun: Sequence[tuple[Node, torch.Tensor]], forest: Forest, keep: OnResponse) -> None:
        """Let answers grow after the prompts that a forest holds."""
        ends = {at: (node, hidden) for node, hidden in begun for at in self._begun[id(node)]}
        offset = 0 if forest.prefix is None else forest.prefix.longest
        for place, jobs in enumerate(self._portions(list(ends), after=offset)):
            if place:
                self._refill(keep)
            self.is_single = len(jobs) == 1 and not self._pool.growing
            nodes = [ends[at][0] for at in jobs]
            capacity = max(ends[at][0].end - offset + self._limit(at) for at in jobs)
            cache = forest.hand_over(nodes, capacity=capacity)
            self._admit(jobs, cache, torch.stack([ends[at][1] for at in jobs]), keep)

    def _admit(self, jobs: Sequence[int], cache: KVCache, hidden: torch.Tensor, keep: OnResponse) -> None:
        """Add answers to those that grow."""
        self._decoder.pack()
        members: list[Growing] = []
        for at in jobs:
            request = self._jobs[at].request
            assert isinstance(request, Generate)
            room = self._window - len(self._jobs[at].spans[0].ids)
            members.append(generation.begin(request, self._tokenizer, room=room))
            self._owners[id(members[-1])] = at
        done = [row for row, member in enumerate(members) if member.is_done]
        for row in done:
            self._complete(members[row], keep)
        growing = [row for row, member in enumerate(members) if not member.is_done]
        if not growing:
            return
        if done:
            chosen = torch.tensor(growing, device=hidden.device)
            cache.select(chosen)
            hidden = hidden[chosen]
        self._pool.admit([members[row] for row in growing], cache, hidden)

    def _refill(self, keep: OnResponse) -> None:
        """Let the answers grow until there is room for others."""
        if 2 * self._pool.held > self._budget.kept:
            self._grow(keep, until=int(REFILLED * self._pool.growing))

    def _grow(self, keep: OnResponse, *, until: int) -> None:
        """Let the answers grow until at most so many are not whole."""
        while self._pool.growing > until:
            self.is_single = self._pool.growing == 1
            for member in self._pool.step():
                self._complete(member, keep)

    def _complete(self, member: Growing, keep: OnResponse) -> None:
        keep(self._jobs[self._owners.pop(id(member))].owner, member.completion())


def _placed(job: Job) -> Iterator[tuple[Span, int]]:
    """Yield the spans of a job, each with the place of its first target among the job's."""
    first = 0
    for span in job.spans:
        yield span, first
        first += len(span.ids) - span.start
