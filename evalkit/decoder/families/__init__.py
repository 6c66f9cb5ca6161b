"""Checkpoint families: how each names its settings and tensors; one small declarative file a family."""

from __future__ import annotations

from evalkit.decoder.families import (
    gemma,
    gemma2,
    gemma3,
    gpt2,
    gpt_neo,
    gpt_neox,
    gptj,
    llama,
    mistral,
    native,
    opt,
    qwen2,
    qwen3,
)
from evalkit.decoder.families.family import Family

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        native.FAMILY,
        gpt2.FAMILY,
        gpt_neo.FAMILY,
        gptj.FAMILY,
        gpt_neox.FAMILY,
        opt.FAMILY,
        llama.FAMILY,
        mistral.FAMILY,
        qwen2.FAMILY,
        qwen3.FAMILY,
        gemma.FAMILY,
        gemma2.FAMILY,
        gemma3.FAMILY,
    )
}
