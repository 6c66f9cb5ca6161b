"""The decoder: a pre-norm transformer whose layers are dense or banded, with learned positions and a tied head.

Architecture of GPT-2 (Radford 2019) with GPT-3's alternating attention (Brown 2020, section 2.1). One module serves
training, scoring and generation; shapes in comments: B batch, T new tokens, S cached tokens, d width, H heads, D head
size, V vocabulary.
"""

from __future__ import annotations

import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evalkit.decoder.attention import attend, attend_cached
from evalkit.decoder.cache import KVCache
from evalkit.decoder.config import DecoderConfig

INIT_STD = 0.02


class Decoder(nn.Module):
    """Token ids to hidden states; logits are computed from those hidden states that are asked for."""

    def __init__(self, config: DecoderConfig, *, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.config = config
        with torch.device(device or "cpu"):
            self.tokens = nn.Parameter(torch.empty(config.vocab_size, config.d_model))  # embedding and head
            self.positions = nn.Parameter(torch.empty(config.window, config.d_model))
            self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
            self.norm = nn.LayerNorm(config.d_model, eps=config.norm_eps)

    def forward(self, tokens: Tensor, *, start: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Give the normalised hidden states (B, T, d) of tokens (B, T).

        Without a cache, or with an empty one, the tokens begin a sequence: at position 0, or at `start` (B,). With a
        filled cache, T is 1 and each token continues its row. The caller counts what was added to the cache.
        """
        hidden = F.embedding(tokens, self.tokens) + self._embed_positions(tokens.shape[1], start, cache)
        for block in self.blocks:
            hidden = block(hidden, cache)
        return self.norm(hidden)  # type: ignore[no-any-return]  # nn.Module calls are untyped

    def _embed_positions(self, count: int, start: Tensor | None, cache: KVCache | None) -> Tensor:
        """Embed the positions of T new tokens: (T, d), or (B, T, d) where rows differ."""
        if cache is not None and cache.longest:
            if cache.shortest == cache.longest:
                return self.positions[cache.longest : cache.longest + 1]
            return F.embedding(cache.lengths[:, None], self.positions)
        if start is None:
            return self.positions[:count]
        return F.embedding(start[:, None] + torch.arange(count, device=start.device), self.positions)

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every token of the vocabulary: (..., d) to (..., V), in float32."""
        return F.linear(hidden, self.tokens).float()

    def initialise(self, *, seed: int) -> Decoder:
        """Fill all tensors: normal with std 0.02, residual projections scaled by 1 / sqrt(2 layers) (Radford 2019)."""
        generator = torch.Generator().manual_seed(seed)
        residual_std = INIT_STD / math.sqrt(2 * self.config.layers)
        for name, parameter in self.named_parameters():
            if re.search(r"norm\d?\.weight$", name):
                nn.init.ones_(parameter)
            elif name.endswith(".bias"):
                nn.init.zeros_(parameter)
            else:
                std = residual_std if name.endswith(("attention_out.weight", "mlp_out.weight")) else INIT_STD
                nn.init.normal_(parameter, std=std, generator=generator)
        return self


class Block(nn.Module):
    """Attention and MLP, each after a norm and added to the residual stream."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        width = config.d_model
        self.layer = layer
        self.heads = config.heads
        self.band = config.bands[layer]
        self.scale = 1 / (math.sqrt(config.head_size) * (layer + 1)) if config.scale_by_layer else None
        self.gelu = "tanh" if config.activation == "gelu_tanh" else "none"
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.qkv = nn.Linear(width, 3 * width)  # rows: query of all heads, key, value
        self.attention_out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp_in = nn.Linear(width, config.d_ff)
        self.mlp_out = nn.Linear(config.d_ff, width)

    def forward(self, hidden: Tensor, cache: KVCache | None) -> Tensor:
        """Add attention and MLP to the residual stream (B, T, d)."""
        hidden = hidden + self.attention_out(self._mix(self.qkv(self.norm1(hidden)), cache))
        inner = F.gelu(self.mlp_in(self.norm2(hidden)), approximate=self.gelu)
        return hidden + self.mlp_out(inner)  # type: ignore[no-any-return]  # nn.Module calls are untyped

    def _mix(self, qkv: Tensor, cache: KVCache | None) -> Tensor:
        """Mix values across positions: (B, T, 3d) to (B, T, d)."""
        batch, count, width = qkv.shape
        query, key, value = qkv.view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        if cache is None or not cache.longest:
            if cache is not None:
                cache.fill(self.layer, key, value)
            mixed = attend(query, key, value, band=self.band, scale=self.scale)
        else:
            cache.append(self.layer, key, value)
            start, end, mask = cache.visible(self.band)
            keys, values = cache.keys[self.layer][:, :, start:end], cache.values[self.layer][:, :, start:end]
            mixed = attend_cached(query, keys, values, mask=mask, scale=self.scale)
        return mixed.transpose(1, 2).reshape(batch, count, width // 3)
