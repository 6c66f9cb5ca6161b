"""The decoder: one transformer for every family, put together as its configuration says.

The defaults are GPT-2's architecture (Radford 2019); GPT-3's alternates dense and banded layers (Brown 2020, section
2.1). One module serves training, scoring and generation; shapes in comments: B batch, T new tokens, Q wanted ones, d
width, e width of the embedding, H heads, G heads of keys and values, D head size, V vocabulary.
"""

from __future__ import annotations

import math
import re
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evalkit.decoder import rotary
from evalkit.decoder.activation import activate
from evalkit.decoder.attention import Scores, attend, ready_kernels
from evalkit.decoder.cache import Past
from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.linear import Linear, pack, project
from evalkit.decoder.memory import has_room
from evalkit.decoder.norm import make_norm

if TYPE_CHECKING:
    from evalkit.decoder.graphs import Steps

INIT_STD = 0.02
MLP_ROWS = 1024  # tokens whose inner activations, the widest there are, a CPU has in memory at a time
MOST_WANTED = 0.25  # share of positions up to which the last block computes them alone


@dataclass(frozen=True, slots=True)
class Step:
    """What all blocks of one forward share."""

    cache: Past | None
    turns: Tensor | None  # cosines and sines of the new tokens' positions, where positions are rotary
    local_turns: Tensor | None  # those of layers with a band


class Decoder(nn.Module):
    """Token ids to hidden states; logits are computed from those hidden states that are asked for."""

    def __init__(self, config: DecoderConfig, *, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.config = config
        width = config.embedding_width
        with torch.device(device or "cpu"):
            self.tokens = nn.Parameter(torch.empty(config.vocab_size, width))  # embedding, and head where it is tied
            if config.rotary is None:
                self.positions = nn.Parameter(torch.empty(config.window, config.d_model))
            if width != config.d_model:
                self.embed_in = Linear(width, config.d_model, bias=False)
                self.embed_out = Linear(config.d_model, width, bias=False)
            self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
            self.norm = make_norm(config) if config.has_final_norm else nn.Identity()
            if not config.is_tied:
                self.head = Linear(width, config.vocab_size, bias="head" in config.biases)
        self._packed_tokens: Tensor | None = None  # as the head where it is tied
        self._is_packed = False
        self._turns: dict[tuple[float, ...], Tensor] = {}  # tables of cosines and sines, as long as was needed so far
        self.steps: Steps | None = None  # decode steps in buffers that stay in place, once there are any

    def pack(self) -> None:
        """Hold packed copies of the weights that the CPU reads faster so; the weights must not change after this.

        Where memory is short there are none.
        """
        if self._is_packed or self.tokens.device.type != "cpu":
            return
        self._is_packed = True
        maps = [module for module in self.modules() if isinstance(module, Linear)]
        tied = self.tokens.nbytes if self.config.is_tied else 0
        if has_room(tied + sum(module.weight.nbytes for module in maps)):
            self._packed_tokens = pack(self.tokens) if tied else None
            for module in maps:
                module.packed = pack(module.weight)

    def forward(
        self,
        tokens: Tensor,
        *,
        start: Tensor | None = None,
        cache: Past | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Give the normalised hidden states (B, T, d) of tokens (B, T), or (B, Q, d) of the wanted ones (B, Q).

        Without a cache the tokens begin a sequence: at position 0, or at `start` (B,). With one, they continue its
        rows. The caller counts what was added to the cache.
        """
        config = self.config
        if cache is not None:
            positions, end = cache.positions(tokens.shape[1]), cache.end(tokens.shape[1])
        else:
            positions, end = torch.arange(tokens.shape[1], device=tokens.device)[None], tokens.shape[1]
        if start is not None:
            positions, end = start[:, None] + positions, config.window  # (1 or B, T)
        hidden = F.embedding(tokens, self.tokens)
        if config.embedding_scale != 1:
            hidden = hidden * torch.tensor(config.embedding_scale, dtype=hidden.dtype)
        if config.d_embedding is not None and config.d_embedding != config.d_model:
            hidden = self.embed_in(hidden)
        # What pads a row may lie beyond the window, and is never read.
        positions = positions.clamp(max=config.window - 1)
        if config.rotary is None:
            hidden = hidden + F.embedding(positions, self.positions)
        end = min(end, config.window)
        turns = None if config.rotary is None else self._turns_at(positions, config.rotary, hidden, end=end)
        local = turns
        if config.local_rotary is not None:
            local = self._turns_at(positions, config.local_rotary, hidden, end=end)
        step = Step(cache, turns, local)
        *early, last = self.blocks
        # Training has one shape, for which the device's fastest kernel may as well be planned.
        is_varied = tokens.device.type == "cuda" and not torch.is_grad_enabled()
        with ready_kernels() if is_varied else nullcontext():
            for block in early:
                hidden = block(hidden, step)
            return self.norm(last(hidden, step, wanted))  # type: ignore[no-any-return]  # nn.Module calls are untyped

    def _turns_at(self, positions: Tensor, radians: tuple[float, ...], hidden: Tensor, *, end: int) -> Tensor:
        """Look up cosines and sines of positions (1 or B, T) below `end`: (2, 1 or B, T, n)."""
        made = self._turns.get(radians)
        if made is None or made.shape[1] < end or (made.dtype, made.device) != (hidden.dtype, hidden.device):
            longer = min(self.config.window, 2 * end)  # so that a growing sequence makes few tables
            made = rotary.table(radians, longer, device=hidden.device, dtype=hidden.dtype)
            self._turns[radians] = made
        return made[:, positions]

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every token of the vocabulary: (..., d) to (..., V), in float32."""
        if self.config.embedding_width != self.config.d_model:
            hidden = self.embed_out(hidden)
        is_tied = self.config.is_tied
        logits = project(hidden, self.tokens, packed=self._packed_tokens) if is_tied else self.head(hidden)
        logits = logits.float()
        cap = self.config.logit_cap
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

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
    """Attention and MLP, normed and added to the residual stream as the configuration says."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.layer = layer
        self.band = config.bands[layer]
        scale = config.attention_scale
        if config.scale_by_layer:
            scale = (scale or 1 / math.sqrt(config.head_size)) / (layer + 1)
        self.scores = Scores(scale, config.attention_cap)
        width, inner = config.d_model, config.d_ff
        mixed = config.heads * config.head_size
        self.norm1 = make_norm(config)
        self.qkv = Linear(width, config.qkv_width, bias="qkv" in config.biases)  # rows: all queries, keys, values
        if config.has_qk_norm:
            self.query_norm = make_norm(config, width=config.head_size)
            self.key_norm = make_norm(config, width=config.head_size)
        self.attention_out = Linear(mixed, width, bias="attention_out" in config.biases)
        if config.residual != "parallel_one_norm":
            self.norm2 = make_norm(config)
        # A gated MLP has the rows of the gate before those of what it lets through.
        self.mlp_in = Linear(width, 2 * inner if config.is_gated else inner, bias="mlp_in" in config.biases)
        self.mlp_out = Linear(inner, width, bias="mlp_out" in config.biases)
        if config.norm_place == "around":
            self.attention_norm = make_norm(config)
            self.mlp_norm = make_norm(config)

    def forward(self, hidden: Tensor, step: Step, wanted: Tensor | None = None) -> Tensor:
        """Add attention and MLP to the residual stream (B, T, d); give it at the wanted positions (B, Q) alone."""
        config = self.config
        mixed: Tensor
        normed: Tensor = hidden if config.norm_place == "after" else self.norm1(hidden)
        if wanted is None:
            mixed = self.attention_out(self._mix(normed, step, None))
        elif wanted.shape[1] <= MOST_WANTED * hidden.shape[1]:
            mixed = self.attention_out(self._mix(normed, step, wanted))
            hidden, normed = take(hidden, wanted), take(normed, wanted)
        else:
            mixed = self.attention_out(take(self._mix(normed, step, None), wanted))
            hidden, normed = take(hidden, wanted), take(normed, wanted)
        if config.residual == "parallel_one_norm":
            return hidden + mixed + self._mlp(normed)
        if config.residual == "parallel":
            return hidden + mixed + self._mlp(self.norm2(hidden))
        if config.norm_place == "after":
            hidden = self.norm1(hidden + mixed)
            return self.norm2(hidden + self._mlp(hidden))  # type: ignore[no-any-return]  # nn.Module calls are untyped
        is_around = config.norm_place == "around"
        hidden = hidden + (self.attention_norm(mixed) if is_around else mixed)
        added = self._mlp(self.norm2(hidden))
        return hidden + (self.mlp_norm(added) if is_around else added)

    def _mlp(self, normed: Tensor) -> Tensor:
        if normed.device.type != "cpu" or normed.requires_grad or normed.shape[:-1].numel() <= MLP_ROWS:
            return self._mlp_at_once(normed)
        made = torch.empty_like(normed)
        parts = (torch.split(each.view(-1, each.shape[-1]), MLP_ROWS) for each in (normed, made))
        for part, place in zip(*parts, strict=True):
            place.copy_(self._mlp_at_once(part))
        return made

    def _mlp_at_once(self, normed: Tensor) -> Tensor:
        inner = self.mlp_in(normed)
        if self.config.is_gated:
            gate, let_through = inner.chunk(2, dim=-1)
            inner = activate(gate, self.config.activation) * let_through
        else:
            inner = activate(inner, self.config.activation)
        return self.mlp_out(inner)  # type: ignore[no-any-return]  # nn.Module calls are untyped

    def _mix(self, normed: Tensor, step: Step, wanted: Tensor | None) -> Tensor:
        """Mix values across positions: (B, T, d) to (B, T, H D), or to (B, Q, H D) for the wanted queries alone."""
        config = self.config
        split = config.heads * config.head_size
        turns = step.turns if self.band is None else step.local_turns
        if wanted is None:
            counts = [config.heads, config.kv_heads, config.kv_heads]
            query, key, value = torch.split(self._heads(self.qkv(normed)), counts, dim=2)
            query_turns = turns
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            few, all_of_them = (None, None) if bias is None else (bias[:split], bias[split:])
            query = self._heads(F.linear(take(normed, wanted), weight[:split], few))
            key, value = self._heads(F.linear(normed, weight[split:], all_of_them)).chunk(2, dim=2)
            query_turns = None if turns is None else take_turns(turns, wanted)
        if config.has_qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        if turns is not None and query_turns is not None:
            query, key = rotary.turn(query, query_turns), rotary.turn(key, turns)
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        if step.cache is not None:
            mixed = step.cache.attend(self.layer, query, key, value, scores=self.scores, wanted=wanted)
        else:
            mixed = attend(query, key, value, band=self.band, scores=self.scores, last=wanted)
        return mixed.transpose(1, 2).flatten(2)

    def _heads(self, projected: Tensor) -> Tensor:
        """Divide projections among heads: (B, T, n D) to (B, T, n, D)."""
        return projected.view(*projected.shape[:-1], -1, self.config.head_size)


def take(hidden: Tensor, positions: Tensor) -> Tensor:
    """Give each row's hidden states at its positions: (B, T, d) and (B, Q) to (B, Q, d)."""
    return hidden.gather(1, positions[:, :, None].expand(-1, -1, hidden.shape[-1]))


def take_turns(turns: Tensor, wanted: Tensor) -> Tensor:
    """Give cosines and sines (2, 1 or B, T, n) at the wanted positions (B, Q) of each row: (2, B, Q, n)."""
    if turns.shape[1] == 1:
        return turns[:, 0, wanted]
    return torch.stack([take(each, wanted) for each in turns])


def parameter_count(config: DecoderConfig) -> int:
    """Count the numbers in all tensors of a decoder."""
    return sum(parameter.numel() for parameter in Decoder(config, device="meta").parameters())
