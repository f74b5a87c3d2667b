"""One encoder per kind of observation entry: [R, ...] rows to [R, outputs]; entity sets have a file of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from quintet.games.api import EntryKind, GameSpec, entry_kind
from quintet.games.dotted import load
from quintet.model.config import PolicyConfig
from quintet.model.entity_sets import EntitySetEncoder
from quintet.model.layers import Linear
from quintet.model.normalizer import InputNormalizer, PixelNormalizer

PIXELS_PER_UPDATE = 65536  # enough for a mean and a scale; an Atari batch has a hundred million
_SCATTER = 2654435761  # a prime: its multiples fall all over the pixels, whatever the width of a line


class Encoder(nn.Module):
    """What the policy asks of an encoder, and of a user's own (`model.encoder = "my_module:make_encoder"`).

    `outputs` is the width of what `forward` returns. `update_statistics` sees the same rows once per version; encoders
    without running statistics leave it alone. One that takes the place of an entity set's gives up its pointer heads,
    relations and own slots.
    """

    outputs: int

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[R, ...] in the entry's dtype, and for entity sets the mask [R, N] -> [R, outputs]."""
        raise NotImplementedError

    def update_statistics(self, x: Tensor, mask: Tensor | None) -> None:
        """Merge rows into the running statistics, unmasked entries only."""


class VectorEncoder(Encoder):
    """Normalises and flattens; the layer before the LSTM is the network over all vectors."""

    def __init__(self, space: spaces.Box | spaces.MultiBinary, units: int) -> None:
        super().__init__()
        self.outputs = int(torch.Size(space.shape).numel())
        self.normalizer = InputNormalizer(self.outputs)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[R, ...] -> [R, features], each near +-1."""
        normalized: Tensor = self.normalizer(x.reshape(x.shape[0], self.outputs).to(torch.float32))
        return normalized

    def update_statistics(self, x: Tensor, mask: Tensor | None) -> None:
        """Every feature of every row."""
        self.normalizer.update(x.reshape(x.shape[0], self.outputs))


class CategoricalEncoder(Encoder):
    """One embedding table per category, concatenated."""

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete, units: int) -> None:
        super().__init__()
        sizes = [int(space.n)] if isinstance(space, spaces.Discrete) else [int(n) for n in space.nvec.reshape(-1)]
        widths = [min(units, max(4, n)) for n in sizes]
        self.tables = nn.ModuleList(nn.Embedding(n, width) for n, width in zip(sizes, widths, strict=True))
        self.outputs = sum(widths)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[R] or [R, k] integers -> [R, widths]."""
        columns = x.reshape(x.shape[0], len(self.tables)).to(torch.int64)
        return torch.cat([table(columns[:, k]) for k, table in enumerate(self.tables)], dim=-1)


def channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the last of an image's three axes is the channels, as is Gymnasium's convention; else the first is.

    The first is where the other two are alike and it differs (4 x 84 x 84), or where it is at most half of each of them
    (3 x 210 x 160). So 5 x 5 x 10 is a board of 5 by 5 with ten planes, and 6 x 7 x 10 one of 6 by 7.
    """
    first, middle, last = shape
    square = middle == last != first
    return not (square or 2 * first <= min(middle, last))


class ImageEncoder(Encoder):
    """Three convolutions and a layer (Mnih et al. 2015 for large images, small kernels for small ones).

    Numbers enter as shares of the way from `low` to `high` of the space: 0 and 1 of a Box of 0 to 1 are as far apart as
    0 and 255 of one of 0 to 255. Running statistics of each channel then make the most of what occurs: a uint8 Box that
    holds ids up to 10 uses a twenty-fifth of its bounds.
    """

    low: Tensor
    span: Tensor

    def __init__(self, space: spaces.Box, units: int) -> None:
        super().__init__()
        self.outputs = units
        self.channels_last = channels_last(space.shape)
        low, span = space.low.astype(np.float32), space.high.astype(np.float32) - space.low
        span[span <= 0] = 1.0  # nothing varies there
        if (low == low.flat[0]).all() and (span == span.flat[0]).all():
            low, span = low.reshape(-1)[:1], span.reshape(-1)[:1]
        self.register_buffer("low", torch.as_tensor(low), persistent=False)
        self.register_buffer("span", torch.as_tensor(span), persistent=False)
        channels, height, width = (space.shape[2], *space.shape[:2]) if self.channels_last else space.shape
        self.normalizer = PixelNormalizer(channels)
        self.convolutions = nn.Sequential(*_convolutions(channels, min(height, width)))
        with torch.no_grad():
            features = self.convolutions(torch.zeros(1, channels, height, width)).numel()
        self.project = Linear(features, units)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[R, H, W, C] or [R, C, H, W], uint8 or floats -> [R, units]."""
        shares = (x.to(torch.float32) - self.low) / self.span
        image = self.normalizer(self._channels_to_last(shares))
        features = self.convolutions(image.permute(0, 3, 1, 2)).flatten(1)
        return torch.relu(self.project(features))

    def update_statistics(self, x: Tensor, mask: Tensor | None) -> None:
        """Every pixel of every row, or of many pixels as many as are enough, the same ones wherever this is done."""
        shape = self._channels_to_last(x).shape[:-1]
        pixels = shape.numel()
        picked = torch.arange(min(pixels, PIXELS_PER_UPDATE), device=x.device)
        if pixels > PIXELS_PER_UPDATE:
            picked = picked * _SCATTER % pixels
        at = torch.unravel_index(picked, shape)
        seen, low, span = (self._channels_to_last(t.expand(x.shape))[at] for t in (x, self.low, self.span))
        self.normalizer.update((seen.to(torch.float32) - low) / span)

    def _channels_to_last(self, x: Tensor) -> Tensor:
        """[R, H, W, C] or [R, C, H, W] -> [R, H, W, C], a view."""
        return x if self.channels_last else x.permute(0, 2, 3, 1)


def _convolutions(channels: int, side: int) -> list[nn.Module]:
    if side >= 36:
        layers = [(32, 8, 4), (64, 4, 2), (64, 3, 1)]
    else:
        kernel = min(3, side)
        layers = [(32, kernel, 1), (64, min(3, side - kernel + 1), 1)]
    modules: list[nn.Module] = []
    for outputs, kernel, stride in layers:
        convolution = nn.Conv2d(channels, outputs, kernel, stride)
        nn.init.orthogonal_(convolution.weight, 2**0.5)
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        modules += [convolution, nn.ReLU()]
        channels = outputs
    return modules


_BUILT_IN: dict[EntryKind, type[Encoder]] = {
    "vector": VectorEncoder,
    "categorical": CategoricalEncoder,
    "image": ImageEncoder,
}


def make_encoder(spec: GameSpec, name: str, config: PolicyConfig) -> Encoder | EntitySetEncoder:
    """The encoder of one entry: the user's, if `config.encoder` ("module:function") returns one, else the built-in.

    The user's function is called with (game spec, entry name, units) and may return None.

    Raises:
        UnknownGameError: there is no such module or function.
        UnsupportedSpaceError: no encoder serves this space.
    """
    if config.encoder:
        make: Callable[[GameSpec, str, int], Encoder | None] = load(config.encoder, what="model.encoder")
        own = make(spec, name, config.hidden_units)
        if own is not None:
            return own
    kind = entry_kind(spec, name)
    if kind == "entity_set":
        return EntitySetEncoder(spec, name, config.embedding_units)
    return _BUILT_IN[kind](spec.observation_space[name], config.hidden_units)
