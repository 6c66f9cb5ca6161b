"""evalkit's own form: DecoderConfig's fields in config.json, the decoder's names in the weight file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from evalkit.decoder.config import DecoderConfig, head_size
from evalkit.decoder.families.family import Family

MODEL_TYPE = "evalkit"

TOP = ("tokens", "positions", "embed_in.weight", "embed_out.weight", "norm.weight", "norm.bias")
HEAD = ("head.weight", "head.bias")
NORMS = ("norm1", "norm2", "query_norm", "key_norm", "attention_norm", "mlp_norm")
LINEAR = ("qkv", "attention_out", "mlp_in", "mlp_out")
BLOCK = tuple(f"{part}.{kind}" for part in NORMS + LINEAR for kind in ("weight", "bias"))


def read_config(settings: Mapping[str, Any]) -> DecoderConfig:  # Any: JSON
    """Read DecoderConfig's fields."""
    # The first files have neither of the two.
    written = {"kv_heads": settings["heads"], **settings}
    if "head_size" not in written:
        written["head_size"] = head_size(written["d_model"], written["heads"])
    wanted = [field.name for field in fields(DecoderConfig) if field.name in written or field.default is MISSING]
    values: dict[str, Any] = {
        name: tuple(written[name]) if isinstance(written[name], list) else written[name] for name in wanted
    }
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
