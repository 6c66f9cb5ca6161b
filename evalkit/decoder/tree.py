"""What sequences share: a tree of their tokens, so that a common beginning is computed once.

A node is a stretch of tokens that all sequences below it have; the sequences that end with it are its own. Stretches
too short to be worth a step of their own are computed by each of the nodes below.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

LEAST_SAVED = 16  # tokens that a stretch of its own has to save
LEAST_SHARE = 1 / 8  # of the tokens that follow it on average


@dataclass(slots=True, eq=False)
class Node:
    """A stretch of tokens of one or more sequences."""

    ids: Sequence[int]  # a sequence that it is a stretch of
    begin: int  # position of the first token of the stretch
    end: int  # and of the one after its last
    jobs: list[int] = field(default_factory=list)  # places of the sequences that end with it
    children: list[Node] = field(default_factory=list)
    parent: Node | None = None

    @property
    def length(self) -> int:
        """Tokens of the stretch."""
        return self.end - self.begin

    @property
    def tokens(self) -> list[int]:
        """The stretch itself."""
        return list(self.ids[self.begin : self.end])

    def walk(self) -> Iterator[Node]:
        """Yield the node and all below it, parents first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children)


def build(sequences: Sequence[Sequence[int]]) -> list[Node]:
    """Make the trees of sequences, none of them empty, in the order of their tokens; equal ones end with one node."""
    keys = [array("i", sequence).tobytes() for sequence in sequences]
    root = Node((), 0, 0)
    stack = [root]  # the path to the last sequence
    before = b""
    for place in sorted(range(len(sequences)), key=keys.__getitem__):
        shared = _shared(before, keys[place])
        last = None
        while stack[-1].end > shared:
            last = stack.pop()
        if last is not None and stack[-1].end < shared:
            stack.append(_split(last, shared))
        ids = sequences[place]
        if stack[-1].end < len(ids):
            leaf = Node(ids, stack[-1].end, len(ids), parent=stack[-1])
            stack[-1].children.append(leaf)
            stack.append(leaf)
        stack[-1].jobs.append(place)
        before = keys[place]
    return _worthwhile(root)


def _shared(one: bytes, other: bytes) -> int:
    """Count the tokens that two sequences begin with."""
    size = array("i").itemsize
    least, most = 0, min(len(one), len(other)) // size
    if one[: most * size] == other[: most * size]:
        return most
    while least < most - 1:
        middle = (least + most) // 2
        if one[: middle * size] == other[: middle * size]:
            least = middle
        else:
            most = middle
    return least


def _split(node: Node, place: int) -> Node:
    """Cut a stretch in two at a position; give the upper part."""
    assert node.parent is not None
    upper = Node(node.ids, node.begin, place, children=[node], parent=node.parent)
    node.parent.children[-1] = upper  # the last sequence is the last child all the way down
    node.begin, node.parent = place, upper
    return upper


def _worthwhile(root: Node) -> list[Node]:
    """Give the trees below the root without stretches that save too little: the nodes below those begin earlier."""
    below: dict[int, int] = {}  # id of a node -> tokens of all nodes below it
    for node in reversed(list(root.walk())):  # children first
        node.children = [kept for child in node.children for kept in _kept(child, below)]
        for child in node.children:
            child.parent = None if node is root else node
        below[id(node)] = sum(child.length + below[id(child)] for child in node.children)
    return root.children


def _kept(node: Node, below: dict[int, int]) -> list[Node]:
    """Give the node, or what takes its place: its children, and itself without them where sequences end with it."""
    saved = node.length * (len(node.children) + bool(node.jobs) - 1)
    is_large = node.length * len(node.children) >= LEAST_SHARE * below[id(node)]
    if not node.children or (saved >= LEAST_SAVED and is_large):
        return [node]
    for child in node.children:
        child.begin = node.begin
    if not node.jobs:
        return node.children
    alone = Node(node.ids, node.begin, node.end, node.jobs)
    below[id(alone)] = 0
    return [alone, *node.children]
