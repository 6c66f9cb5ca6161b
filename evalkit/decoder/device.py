"""Where a model runs: the device, its number format, and how much of it one batch may take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from evalkit.decoder.config import DecoderConfig
from evalkit.decoder.model import Decoder
from evalkit.errors import ModelMemoryError, UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CPU_BYTES = 2**24  # of the widest activations of a batch: larger ones are mapped and cleared anew for every layer
CPU_TOKENS = (256, 16384)
CPU_KEPT_BYTES = 2**26  # of the keys and values of answers that grow together, or half of the weights' if that is more
CUDA_SHARE = 0.6  # of the memory that is free when a model was loaded
CUDA_TOKENS = (2048, 2**18)
OTHER_TOKENS = 16384


class Budget:
    """How many tokens are computed together, and how many those answers hold that grow; less where memory runs out."""

    def __init__(self, tokens: int, *, kept: int | None = None) -> None:
        """Let growing answers hold `kept` tokens, or as many as are computed together."""
        self.tokens = tokens
        self.kept = max(tokens, kept or 0)
        self.was_halved = False

    def halve(self, batch: int) -> None:
        """Remember that a batch of so many tokens was too large."""
        self.tokens = max(1, min(self.tokens, batch) // 2)
        self.kept = max(self.tokens, min(self.kept, batch) // 2)
        self.was_halved = True


def automatic_budget(decoder: Decoder) -> Budget:
    """Choose how many tokens are computed together: on a CPU what stays in its allocator, on a GPU what its memory has.

    The bytes of a token are those of its keys, values and widest activations; of one that is kept the first two.
    """
    config, dtype, device = decoder.config, decoder.tokens.dtype, decoder.tokens.device
    kept = 2 * config.layers * config.kv_heads * config.head_size
    if device.type == "cpu":
        least, most = CPU_TOKENS
        tokens = min(most, max(least, CPU_BYTES // (_widest(config) * dtype.itemsize)))
        weights = sum(each.numel() for each in decoder.parameters()) * dtype.itemsize
        return Budget(tokens, kept=max(CPU_KEPT_BYTES, weights // 2) // (kept * dtype.itemsize))
    if device.type == "cuda":
        least, most = CUDA_TOKENS
        free = torch.cuda.mem_get_info(device)[0]
        bytes_each = (kept + 4 * _widest(config)) * dtype.itemsize
        return Budget(min(most, max(least, int(CUDA_SHARE * free) // bytes_each)))
    return Budget(OTHER_TOKENS)


def _widest(config: DecoderConfig) -> int:
    """Count the numbers of a token's widest activation."""
    return max(config.d_ff * (2 if config.is_gated else 1), config.qkv_width, config.d_model)


def dtype_of(name: str | None, *, device: str) -> torch.dtype:
    """Take the number format asked for, or bfloat16 on a GPU and float32 elsewhere; UsageError for another."""
    name = name or ("bfloat16" if device.startswith("cuda") else "float32")
    if name not in DTYPES:
        raise UsageError(f"--dtype: dtype {name!r} is not known; choose {', '.join(DTYPES)}")
    return DTYPES[name]


def usable_device(name: str | None) -> str:
    """Take the device asked for, or the first GPU, or the CPU; UsageError where it cannot be used."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", name):
        raise UsageError(f"--device: found {name!r}, expected cpu, cuda, cuda:1 or mps")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device: device {name!r} cannot be used ({reason}); try --device cpu") from error
    return name


@contextmanager
def reported_memory(advice: str = "lower --token-budget or use a smaller model") -> Iterator[None]:
    """Turn a device's out-of-memory error into ModelMemoryError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise ModelMemoryError(_out_of_memory(error, advice)) from error
    except MemoryError as error:
        raise ModelMemoryError(_out_of_memory(error, advice)) from error
    except RuntimeError as error:  # what the CPU's allocator raises has no class of its own
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise ModelMemoryError(_out_of_memory(error, advice)) from error


def _out_of_memory(error: BaseException, advice: str) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"the device has too little memory ({reason}); {advice}"
