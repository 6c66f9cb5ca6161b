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

from evalkit.decoder.activation import activate
from evalkit.decoder.attention import attend, attend_masked, visible_from
from evalkit.decoder.cache import KVCache
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.linear import Linear, pack, project

INIT_STD = 0.02
MOST_WANTED = 0.25  # share of positions up to which the last block computes them alone


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
        self._packed_head: Tensor | None = None

    def pack(self) -> None:
        """Hold a packed copy of large weights for decoding on the CPU; the weights must not change after this."""
        if self._packed_head is None:
            self._packed_head = pack(self.tokens)
            for module in self.modules():
                if isinstance(module, Linear):
                    module.packed = pack(module.weight)

    def forward(
        self,
        tokens: Tensor,
        *,
        start: Tensor | None = None,
        cache: KVCache | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Give the normalised hidden states (B, T, d) of tokens (B, T), or (B, Q, d) at the wanted positions (B, Q).

        Without a cache, or with an empty one, the tokens begin a sequence: at position 0, or at `start` (B,). With a
        filled cache, T is 1 and each token continues its row. The caller counts what was added to the cache.
        """
        hidden = F.embedding(tokens, self.tokens) + self._embed_positions(tokens.shape[1], start, cache)
        *early, last = self.blocks
        for block in early:
            hidden = block(hidden, cache)
        return self.norm(last(hidden, cache, wanted))  # type: ignore[no-any-return]  # nn.Module calls are untyped

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
        return project(hidden, self.tokens, packed=self._packed_head).float()

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
        self.activation = config.activation
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.qkv = Linear(width, 3 * width)  # rows: query of all heads, key, value
        self.attention_out = Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp_in = Linear(width, config.d_ff)
        self.mlp_out = Linear(config.d_ff, width)

    def forward(self, hidden: Tensor, cache: KVCache | None, wanted: Tensor | None = None) -> Tensor:
        """Add attention and MLP to the residual stream (B, T, d); give it at the wanted positions (B, Q) alone."""
        normed = self.norm1(hidden)
        if wanted is None or wanted.shape[1] > MOST_WANTED * hidden.shape[1]:
            hidden = self._add_mlp(hidden + self.attention_out(self._mix(self.qkv(normed), cache)))
            return hidden if wanted is None else take(hidden, wanted)
        mixed = self._mix_at(wanted, normed, cache)
        return self._add_mlp(take(hidden, wanted) + self.attention_out(mixed))

    def _add_mlp(self, hidden: Tensor) -> Tensor:
        inner = activate(self.mlp_in(self.norm2(hidden)), self.activation)
        return hidden + self.mlp_out(inner)  # type: ignore[no-any-return]  # nn.Module calls are untyped

    def _mix(self, qkv: Tensor, cache: KVCache | None) -> Tensor:
        """Mix values across positions: (B, T, 3d) to (B, T, d)."""
        query, key, value = self._split(qkv)
        if cache is None or not cache.longest:
            if cache is not None:
                key, value = cache.fill(self.layer, key, value)
            mixed = attend(query, key, value, band=self.band, scale=self.scale)
        else:
            cache.append(self.layer, key, value)
            start, end, mask = cache.visible(self.band)
            keys, values = cache.keys[self.layer][:, :, start:end], cache.values[self.layer][:, :, start:end]
            mixed = attend_masked(query, keys, values, mask=mask, scale=self.scale)
        return merge_heads(mixed)

    def _mix_at(self, wanted: Tensor, normed: Tensor, cache: KVCache | None) -> Tensor:
        """Mix values for the wanted positions of sequences from position 0: (B, T, d) to (B, Q, d)."""
        width = normed.shape[-1]
        (query,) = self._split(F.linear(take(normed, wanted), self.qkv.weight[:width], self.qkv.bias[:width]))
        key, value = self._split(F.linear(normed, self.qkv.weight[width:], self.qkv.bias[width:]))
        if cache is not None:
            key, value = cache.fill(self.layer, key, value)
        mask = visible_from(wanted, normed.shape[1], band=self.band)
        return merge_heads(attend_masked(query, key, value, mask=mask, scale=self.scale))

    def _split(self, projected: Tensor) -> tuple[Tensor, ...]:
        """Split projections of the width d that lie side by side, and their heads: (B, T, n d) to n of (B, H, T, D)."""
        batch, count, width = projected.shape
        parts = width // self.attention_out.in_features
        return projected.view(batch, count, parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()


def take(hidden: Tensor, positions: Tensor) -> Tensor:
    """Give each row's hidden states at its positions: (B, T, d) and (B, Q) to (B, Q, d)."""
    return hidden.gather(1, positions[:, :, None].expand(-1, -1, hidden.shape[-1]))


def merge_heads(mixed: Tensor) -> Tensor:
    """Put heads side by side: (B, H, T, D) to (B, T, d)."""
    return mixed.transpose(1, 2).flatten(2)
