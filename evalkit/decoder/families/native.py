"""evalkit's own form: DecoderConfig's fields in config.json, the decoder's names in the weight file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.families.family import Family
from evalkit.decoder.families.settings import head_size
from evalkit.errors import CheckpointError

MODEL_TYPE = "evalkit"

TOP = ("tokens", "positions", "embed_in.weight", "embed_out.weight", "norm.weight", "norm.bias")
HEAD = ("head.weight", "head.bias")
NORMS = ("norm1", "norm2", "query_norm", "key_norm", "attention_norm", "mlp_norm")
LINEAR = ("qkv", "attention_out", "mlp_in", "mlp_out")
BLOCK = tuple(f"{part}.{kind}" for part in NORMS + LINEAR for kind in ("weight", "bias"))


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read DecoderConfig's fields."""
    written = {"kv_heads": settings.get("heads"), **settings}  # the first files have neither it nor head_size
    if "head_size" not in written:
        written["head_size"] = head_size(settings, "d_model", "heads")
    values: dict[str, Any] = {}  # Any: of several types
    for field in fields(DecoderConfig):
        if field.name in written:
            found = written[field.name]
            values[field.name] = tuple(found) if isinstance(found, list) else found
        elif field.default is MISSING:
            raise CheckpointError(f"{field.name}: found no such setting, expected one in evalkit's own form")
    return DecoderConfig(**values)


def write_config(config: DecoderConfig) -> dict[str, Any]:  # Any: JSON
    """Give what read_config reads."""
    return {"model_type": MODEL_TYPE, **asdict(config)}


FAMILY = Family(
    model_type=MODEL_TYPE,
    config=read_config,
    tensors={name: name for name in TOP + HEAD}
    | {f"blocks.{{layer}}.{name}": f"blocks.{{layer}}.{name}" for name in BLOCK},
)
