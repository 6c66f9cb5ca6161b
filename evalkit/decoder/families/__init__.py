"""Checkpoint families: how each names its settings and tensors; one small declarative file a family."""

from __future__ import annotations

from evalkit.decoder.families import gpt2, native
from evalkit.decoder.families.family import Family

FAMILIES: dict[str, Family] = {family.model_type: family for family in (native.FAMILY, gpt2.FAMILY)}
