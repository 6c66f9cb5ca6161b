"""What a family has to say of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor

from evalkit.decoder.config import DecoderConfig

Change: TypeAlias = Callable[[Tensor, DecoderConfig], Tensor]
"""Gives a tensor of the file the decoder's layout. It is called for shapes alone, too, on tensors without numbers."""


@dataclass(frozen=True, slots=True)
class Stacked:
    """Tensors of the file that lie end to end, along dimension 0, in one of the decoder's."""

    names: tuple[str, ...]
    change: Change | None = None  # made to each before it is laid down


Source: TypeAlias = str | Stacked
"""Where one of the decoder's tensors is in the file: under a name, or made of several, or of one that is changed."""


@dataclass(frozen=True, slots=True)
class Family:
    """A way of writing a checkpoint: the names in config.json and of the tensors in the weight files.

    In names, {layer} stands for the layer's number. Tensors that a configuration does without, such as biases, are
    listed all the same: those that the decoder has are read.
    """

    model_type: str  # of config.json
    config: Callable[[Mapping[str, Any]], DecoderConfig]  # CheckpointError that names a setting as config.json does
    tensors: Mapping[str, Source]  # the decoder's name -> the file's
    prefixes: tuple[str, ...] = ("",)  # any of which may stand before a file's names, but never before the head's
    synonyms: Mapping[str, str] = field(default_factory=dict)  # a file's name -> what some files call it
    ignored: tuple[str, ...] = ()  # regular expressions of names in the file that hold no weights of their own
    ignored_if_tied: tuple[str, ...] = ()  # those that are ignored where the head is the embedding


def transpose(tensor: Tensor, config: DecoderConfig) -> Tensor:  # noqa: ARG001  # a Change
    """Turn a linear weight that is kept as (in, out)."""
    return tensor.T
