"""evalkit's own form: DecoderConfig's fields in config.json, the decoder's names in the weight file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.families.family import Family

MODEL_TYPE = "evalkit"

TOP = ("tokens", "positions", "norm.weight", "norm.bias")
BLOCK = tuple(
    f"{part}.{kind}"
    for part in ("norm1", "qkv", "attention_out", "norm2", "mlp_in", "mlp_out")
    for kind in ("weight", "bias")
)


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read DecoderConfig's fields."""
    values = {field.name: settings[field.name] for field in fields(DecoderConfig)}
    return DecoderConfig(**values | {"bands": tuple(values["bands"])})


def write_config(config: DecoderConfig) -> dict[str, Any]:  # Any: JSON
    """Give what read_config reads."""
    return {"model_type": MODEL_TYPE, **asdict(config)}


FAMILY = Family(
    model_type=MODEL_TYPE,
    config=read_config,
    tensors={name: name for name in TOP} | {f"blocks.{{layer}}.{name}": f"blocks.{{layer}}.{name}" for name in BLOCK},
)
