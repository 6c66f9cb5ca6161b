"""What a family has to say of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.decoder.config import DecoderConfig


@dataclass(frozen=True, slots=True)
class Family:
    """A way of writing a checkpoint: the names in config.json and of the tensors in the weight files."""

    model_type: str  # of config.json
    config: Callable[[Mapping[str, Any]], DecoderConfig]  # KeyError where a setting is missing
    tensors: Mapping[str, str]  # the decoder's name -> the file's; {layer} stands for the layer's number
    prefixes: tuple[str, ...] = ("",)  # any of which may stand before a file's names
    transposed: frozenset[str] = frozenset()  # the decoder's names of tensors that the file keeps as (in, out)
    ignored: tuple[str, ...] = ()  # regular expressions of names in the file that hold no weights of their own
