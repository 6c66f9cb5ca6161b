"""The shape of a decoder and what is computed in it, and the eight shapes of GPT-3."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypeAlias, get_args, get_origin, get_type_hints

from evalkit.errors import CheckpointError

Activation: TypeAlias = Literal["gelu_tanh", "gelu", "relu", "silu"]
Norm: TypeAlias = Literal["layer", "rms", "rms_plus_one"]  # the last multiplies by 1 + weight, as Gemma does
NormPlace: TypeAlias = Literal["before", "after", "around"]
Residual: TypeAlias = Literal["sequential", "parallel", "parallel_one_norm"]
Biased: TypeAlias = Literal["qkv", "attention_out", "mlp_in", "mlp_out", "head"]

LARGEST = 2**24  # of any number in a shape; beyond it torch overflows
MOST_LAYERS = 1024
GPT3_BAND = 256  # the paper names no band width; GPT-Neo's 256, current token included, is the one with public weights

# name: layers, d_model, heads, head size (Brown 2020, Table 2.1, as corrected in DecoderConfig.gpt3)
GPT3_SHAPES = {
    "125M": (12, 768, 12, 64),
    "350M": (24, 1024, 16, 64),
    "760M": (24, 1536, 16, 96),
    "1.3B": (24, 2048, 16, 128),
    "2.7B": (32, 2560, 32, 80),
    "6.7B": (32, 4096, 32, 128),
    "13B": (40, 5120, 40, 128),
    "175B": (96, 12288, 96, 128),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Everything that decides the tensors of a decoder and what is computed with them; the defaults are GPT-2's."""

    vocab_size: int
    window: int  # positions that a sequence may have
    layers: int
    d_model: int
    heads: int
    kv_heads: int  # heads of keys and values, each shared by heads / kv_heads of the queries (Ainslie 2023)
    head_size: int  # width D of one head
    d_ff: int  # inner width of the MLP
    bands: tuple[int | None, ...]  # a layer: None attends to all before it, W to the last W tokens, itself included
    activation: Activation = "gelu_tanh"
    is_gated: bool = False  # the MLP multiplies the activation of one projection by another one (Shazeer 2020)
    norm: Norm = "layer"
    norm_eps: float = 1e-5
    norm_place: NormPlace = "before"  # of attention and MLP; "around" norms what they add as well
    has_final_norm: bool = True
    has_qk_norm: bool = False  # queries and keys are normed head by head
    residual: Residual = "sequential"  # in parallel, attention and MLP read the same input
    biases: tuple[Biased, ...] = ("qkv", "attention_out", "mlp_in", "mlp_out")
    rotary: tuple[float, ...] | None = None  # radians a position of each pair of a head's numbers; None: learned table
    local_rotary: tuple[float, ...] | None = None  # of layers with a band, where theirs differ
    attention_scale: float | None = None  # None: 1 / sqrt(D)
    scale_by_layer: bool = False  # divide attention scores by the layer's number, from 1
    attention_cap: float | None = None  # scores s become cap tanh(s / cap)
    logit_cap: float | None = None
    is_tied: bool = True  # the head is the embedding
    d_embedding: int | None = None  # width of the embedding where it is not d_model
    embedding_scale: float = 1.0

    def __post_init__(self) -> None:
        """Raise CheckpointError where a value is of another type, out of range or contradicts another."""
        limits = {"window": (2, LARGEST), "layers": (1, MOST_LAYERS)}
        types = get_type_hints(DecoderConfig)
        for field in fields(self):
            _check(
                field.name, getattr(self, field.name), types[field.name], limits=limits.get(field.name, (1, LARGEST))
            )
        if self.heads % self.kv_heads:
            raise CheckpointError(f"kv_heads: {self.heads} heads are not a multiple of {self.kv_heads}")
        if len(self.bands) != self.layers:
            raise CheckpointError(f"bands: found {len(self.bands)}, expected {self.layers}, one for each layer")
        for name in ("rotary", "local_rotary"):
            pairs = len(getattr(self, name) or ())
            if 2 * pairs > self.head_size:
                raise CheckpointError(f"{name}: found {pairs} pairs of numbers, a head has {self.head_size} numbers")

    @property
    def embedding_width(self) -> int:
        """Width of the embedding."""
        return self.d_embedding or self.d_model

    @property
    def qkv_width(self) -> int:
        """Rows of the projection to queries, keys and values."""
        return (self.heads + 2 * self.kv_heads) * self.head_size

    @classmethod
    def gpt3(cls, name: str, *, vocab_size: int = 50257, window: int = 2048, band: int = GPT3_BAND) -> DecoderConfig:
        """Give the shape of a GPT-3 size, `125M` to `175B` (Brown 2020, Tables 2.1 and D.1).

        Two rows of Table 2.1 cannot be built as printed. XL (1.3B) has 24 heads of 128, which is 3072 and not its width
        of 2048: 16 heads are taken. 13B has width 5140, which is not 40 heads of 128: 5120 is taken, the width that
        gives Table D.1's 12,850M parameters. The paper says that dense and banded layers alternate, but neither which
        comes first nor how wide the band is: dense comes first and the band is 256, as in GPT-Neo.
        """
        if name not in GPT3_SHAPES:
            raise CheckpointError(f"no GPT-3 size {name!r}; the sizes are {', '.join(GPT3_SHAPES)}")
        layers, d_model, heads, _ = GPT3_SHAPES[name]
        return cls.gpt3_like(layers, d_model, heads, vocab_size=vocab_size, window=window, band=band)

    @classmethod
    def gpt3_like(
        cls, layers: int, d_model: int, heads: int, *, vocab_size: int, window: int, band: int = GPT3_BAND
    ) -> DecoderConfig:
        """Give GPT-3's architecture in any size: an MLP four times as wide, dense and banded layers in turn."""
        return cls(
            vocab_size=vocab_size,
            window=window,
            layers=layers,
            d_model=d_model,
            heads=heads,
            kv_heads=heads,
            head_size=head_size(d_model, heads),
            d_ff=4 * d_model,
            bands=tuple(band if layer % 2 else None for layer in range(layers)),
        )


def head_size(width: int, heads: int) -> int:
    """Divide a width among heads; CheckpointError where that leaves a rest."""
    for name, found in (("d_model", width), ("heads", heads)):
        _check(name, found, int, limits=(1, LARGEST))
    if width % heads:
        raise CheckpointError(f"model width {width} is not a multiple of {heads} heads; check the configuration")
    return width // heads


def _check(name: str, found: object, wanted: object, *, limits: tuple[int, int]) -> None:
    """Raise CheckpointError where a value is not of the type, or a number out of its range."""
    expected = _complaint(found, wanted, limits=limits)
    if expected is not None:
        raise CheckpointError(f"{name}: found {found!r:.40}, expected {expected}")


def _complaint(found: object, wanted: object, *, limits: tuple[int, int]) -> str | None:
    """Say what was expected where `found` is not that."""
    options = get_args(wanted)
    if type(None) in options:
        inner = next(option for option in options if option is not type(None))
        wrong = None if found is None else _complaint(found, inner, limits=limits)
        return None if wrong is None else f"null or {wrong}"
    if get_origin(wanted) is tuple:
        if not isinstance(found, tuple):
            return "a list"
        wrong = next((each for one in found if (each := _complaint(one, options[0], limits=limits))), None)
        return None if wrong is None else f"a list, each {wrong}"
    if get_origin(wanted) is Literal:
        return None if isinstance(found, str) and found in options else f"{', '.join(options[:-1])} or {options[-1]}"
    number = found if isinstance(found, int | float) and not isinstance(found, bool) else None
    least, most = limits
    if wanted is bool:
        is_right, expected = type(found) is bool, "true or false"
    elif wanted is float:  # no setting of a decoder is negative, and none is large
        is_right, expected = number is not None and 0 < number <= LARGEST, f"a number above 0, at most {LARGEST}"
    else:
        is_whole = isinstance(number, int)
        is_right, expected = (
            number is not None and is_whole and least <= number <= most,
            f"a whole number from {least} to {most}",
        )
    return None if is_right else expected
