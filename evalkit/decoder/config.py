"""The shape of a decoder, and the eight shapes of GPT-3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from evalkit.errors import CheckpointError

Activation: TypeAlias = Literal["gelu_tanh", "gelu"]

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


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Everything that decides the tensors of a decoder and what is computed with them."""

    vocab_size: int
    window: int  # positions that have an embedding
    layers: int
    d_model: int
    heads: int
    d_ff: int  # inner width of the MLP
    bands: tuple[int | None, ...]  # a layer: None attends to all before it, W to the last W tokens, itself included
    activation: Activation = "gelu_tanh"
    norm_eps: float = 1e-5
    scale_by_layer: bool = False  # divide attention scores by the layer's number, from 1

    def __post_init__(self) -> None:
        """Raise CheckpointError where a value is of another type, out of range or contradicts another."""
        limits = {"window": (2, LARGEST), "layers": (1, MOST_LAYERS)}
        for name in ("vocab_size", "window", "layers", "d_model", "heads", "d_ff"):
            least, most = limits.get(name, (1, LARGEST))
            found = getattr(self, name)
            if type(found) is not int or not least <= found <= most:
                raise CheckpointError(f"{name}: found {found!r:.40}, expected a whole number from {least} to {most}")
        for band in self.bands:
            if band is not None and (type(band) is not int or band < 1):
                raise CheckpointError(f"bands: found {band!r:.40}, expected null or a whole number above 0")
        if self.activation not in get_args(Activation):
            raise CheckpointError(
                f"activation: found {self.activation!r:.40}, expected {' or '.join(get_args(Activation))}"
            )
        if type(self.norm_eps) not in (int, float) or not 0 < self.norm_eps <= 1:
            raise CheckpointError(f"norm_eps: found {self.norm_eps!r:.40}, expected a number above 0, at most 1")
        if type(self.scale_by_layer) is not bool:
            raise CheckpointError(f"scale_by_layer: found {self.scale_by_layer!r:.40}, expected true or false")
        if self.d_model % self.heads:
            raise CheckpointError(
                f"model width {self.d_model} is not a multiple of {self.heads} heads; check the configuration"
            )
        if len(self.bands) != self.layers:
            raise CheckpointError(
                f"{len(self.bands)} attention bands for {self.layers} layers; the configuration needs one a layer"
            )

    @property
    def head_size(self) -> int:
        """Width D of one attention head."""
        return self.d_model // self.heads

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        width, inner = self.d_model, self.d_ff
        block = 4 * width * width + 2 * width * inner + 9 * width + inner
        return (self.vocab_size + self.window + 2) * width + self.layers * block

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
            d_ff=4 * d_model,
            bands=tuple(band if layer % 2 else None for layer in range(layers)),
        )
