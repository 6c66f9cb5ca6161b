"""What stands in for a CUDA graph on a CPU: operations are written down, and done again on the same tensors.

As with a graph, nothing of Python runs again: numbers that it took from tensors would stay as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITING = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}  # for the device


class Tape(TorchDispatchMode):
    """Writes operations down as they are done, and what they overwrite."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, Any]] = []
        self.overwritten: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in WAITING:
            raise RuntimeError(f"{func} waits for the device")
        for each, told in zip(args, func._schema.arguments, strict=False):
            if told.alias_info is not None and told.alias_info.is_write:
                self.overwritten.append((each, each.clone()))
        made = func(*args, **kwargs)
        self.done.append((func, args, kwargs, made))
        return made

    def undo(self) -> None:
        """Put back what was overwritten: a graph that is recorded is not done."""
        for tensor, before in reversed(self.overwritten):
            tensor.copy_(before)
        self.overwritten = []

    def replay(self) -> None:
        """Do all operations again, into the tensors that they made."""
        for func, args, kwargs, made in self.done:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def tape(work: Callable[[], None]) -> Callable[[], None]:
    """Record work as a CUDA graph would."""
    made = Tape()
    with made:
        work()
    made.undo()
    return made.replay
