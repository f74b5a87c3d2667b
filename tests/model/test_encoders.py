"""Every encoder against a plain computation, and the user's own in place of the built-in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from quintet.games.api import GameSpec, UnknownGameError, UnsupportedSpaceError
from quintet.model.config import PolicyConfig
from quintet.model.encoders import (
    PIXELS_PER_UPDATE,
    CategoricalEncoder,
    Encoder,
    ImageEncoder,
    VectorEncoder,
    make_encoder,
)
from quintet.model.entity_sets import EntitySetEncoder
from quintet.model.entries import entry_names
from tests.support.policy_factory import every_kind, make_policy, random_rows, targeting


class SumEncoder(Encoder):
    """A user's encoder: the sum of a vector, and a record of what it was asked to learn from."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs = 1
        self.seen = 0

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x.float().sum(dim=-1, keepdim=True)

    def update_statistics(self, x: Tensor, mask: Tensor | None) -> None:
        self.seen += len(x)


def make_sum_encoder(spec: GameSpec, name: str, units: int) -> Encoder | None:
    """Replaces the encoder of `vector` and leaves all others alone."""
    return SumEncoder() if name == "vector" else None


def test_a_vector_is_normalised_and_flattened() -> None:
    encoder = VectorEncoder(spaces.Box(-1.0, 1.0, (2, 3)), 8)
    rows = torch.randn(50, 2, 3) * 4 + 2
    encoder.update_statistics(rows, None)
    flat = rows.reshape(50, 6)
    expected = ((flat - flat.mean(0)) / flat.std(0, unbiased=False)).clamp(-5, 5)
    torch.testing.assert_close(encoder(rows, None), expected, rtol=1e-4, atol=1e-4)


def test_flags_and_half_precision_enter_as_float32() -> None:
    flags = VectorEncoder(spaces.MultiBinary(3), 8)
    assert torch.equal(flags(torch.tensor([[True, False, True]]), None), torch.tensor([[1.0, 0.0, 1.0]]))
    halves = VectorEncoder(spaces.Box(-1.0, 1.0, (2,)), 8)
    assert halves(torch.ones(1, 2, dtype=torch.float16), None).dtype == torch.float32


def test_categories_are_looked_up_one_table_each_and_concatenated() -> None:
    encoder = CategoricalEncoder(spaces.MultiDiscrete([2, 5]), 8)
    out = encoder(torch.tensor([[1, 4], [0, 0]], dtype=torch.int16), None)
    two, five = encoder.state_dict().values()
    assert torch.equal(out, torch.stack([torch.cat([two[1], five[4]]), torch.cat([two[0], five[0]])]))
    assert out.shape == (2, encoder.outputs)
    single = CategoricalEncoder(spaces.Discrete(3), 8)
    assert single(torch.tensor([0, 2, 1]), None).shape == (3, single.outputs)


@pytest.mark.parametrize("side", [1, 2, 3, 8, 40])
def test_an_image_is_the_same_with_its_channels_first_or_last(side: int) -> None:
    last, first = (side, side, 1), (1, side, side)
    torch.manual_seed(0)
    a = ImageEncoder(spaces.Box(0, 255, last, np.uint8), 8)
    b = ImageEncoder(spaces.Box(0, 255, first, np.uint8), 8)
    b.load_state_dict(a.state_dict())
    image = torch.randint(0, 256, (3, *last), dtype=torch.uint8)
    torch.testing.assert_close(a(image, None), b(image.permute(0, 3, 1, 2), None))
    assert a(image, None).shape == (3, 8)


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((84, 84, 4), 4), ((4, 84, 84), 4), ((210, 160, 3), 3), ((3, 210, 160), 3), ((12, 84, 96), 12),
        ((5, 5, 3), 3), ((5, 5, 10), 10), ((10, 5, 5), 10), ((8, 8, 111), 111), ((6, 7, 2), 2), ((6, 7, 10), 10),
        ((5, 10, 5), 5), ((3, 3, 3), 3), ((1, 40, 40), 1), ((40, 40, 1), 1), ((19, 19, 17), 17),
    ],
)  # fmt: skip
def test_channels_are_the_last_axis_unless_the_first_is_surely_meant(shape: tuple[int, ...], channels: int) -> None:
    encoder = ImageEncoder(spaces.Box(0, 255, shape, np.uint8), 8)
    assert encoder.get_parameter("convolutions.0.weight").shape[1] == channels
    assert encoder(torch.zeros(2, *shape, dtype=torch.uint8), None).shape == (2, 8)


def test_an_image_enters_by_the_bounds_of_its_space() -> None:
    high = np.full((5, 5, 3), 255, np.uint8)
    high[..., 1] = 1
    plain = ImageEncoder(spaces.Box(0, 255, (5, 5, 3), np.uint8), 8)
    bits, mixed, moved = (
        ImageEncoder(space, 8)
        for space in (
            spaces.Box(0, 1, (5, 5, 3), np.uint8),
            spaces.Box(np.zeros_like(high), high, dtype=np.uint8),
            spaces.Box(100, 101, (5, 5, 3), np.uint8),
        )
    )
    for other in (bits, mixed, moved):
        other.load_state_dict(plain.state_dict())
    image = torch.randint(0, 2, (4, 5, 5, 3), dtype=torch.uint8)
    expected = plain(image * 255, None)
    torch.testing.assert_close(bits(image, None), expected)
    floats = ImageEncoder(spaces.Box(0, 1, (5, 5, 3), np.float32), 8)
    floats.load_state_dict(plain.state_dict())
    torch.testing.assert_close(floats(image.float(), None), expected)
    torch.testing.assert_close(moved(image + 100, None), expected)
    torch.testing.assert_close(mixed(image * torch.as_tensor(high), None), expected)
    constant = ImageEncoder(spaces.Box(7, 7, (5, 5, 3), np.uint8), 8)
    assert bool(torch.isfinite(constant(torch.full((1, 5, 5, 3), 7, dtype=torch.uint8), None)).all())


def ids(shape: tuple[int, ...], most: int = 10) -> Tensor:
    """Images of small whole numbers, as games of cells show them."""
    return torch.randint(0, most + 1, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_small_numbers_within_wide_bounds_enter_as_far_apart_as_a_picture() -> None:
    encoder = ImageEncoder(spaces.Box(0, 255, (7, 7, 3), np.uint8), 8)
    image, entered = ids((50, 7, 7, 3)), []
    encoder.convolutions.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    encoder(image, None)
    encoder.update_statistics(image, None)
    encoder(image, None)
    before, after = entered
    assert float(before.max()) < 0.04
    expected = image.permute(0, 3, 1, 2).float()
    expected = (expected - expected.mean((0, 2, 3), keepdim=True)) / expected.std((0, 2, 3), keepdim=True)
    torch.testing.assert_close(after, expected, rtol=1e-3, atol=1e-3)


def test_statistics_are_those_of_each_channel_whichever_axis_it_is_and_of_floats_as_of_uint8() -> None:
    image = ids((20, 7, 7, 3)) * torch.tensor([1, 5, 20], dtype=torch.uint8)
    last = ImageEncoder(spaces.Box(0, 255, (7, 7, 3), np.uint8), 8)
    first = ImageEncoder(spaces.Box(0, 255, (3, 7, 7), np.uint8), 8)
    floats = ImageEncoder(spaces.Box(0, 1, (7, 7, 3), np.float32), 8)
    seen = {last: image, first: image.permute(0, 3, 1, 2), floats: image.float() / 255}
    for encoder, x in seen.items():
        encoder.load_state_dict(last.state_dict())
        encoder.update_statistics(x, None)
    expected = (image.float() / 255).flatten(0, 2)
    for encoder, x in seen.items():
        torch.testing.assert_close(encoder.normalizer.mean, expected.mean(0))
        torch.testing.assert_close(encoder.normalizer.variance, expected.var(0, unbiased=False))
        torch.testing.assert_close(encoder(x, None), last(image, None))


def test_bounds_that_differ_by_pixel_count_in_the_statistics_too() -> None:
    high = np.full((5, 5, 3), 255, np.uint8)
    high[:2] = 10
    encoder = ImageEncoder(spaces.Box(np.zeros_like(high), high, dtype=np.uint8), 8)
    shares = torch.rand(30, 5, 5, 3)
    encoder.update_statistics((shares * torch.as_tensor(high)).to(torch.float32), None)
    torch.testing.assert_close(encoder.normalizer.mean, shares.flatten(0, 2).mean(0))
    torch.testing.assert_close(encoder.normalizer.most, shares.flatten(0, 2).amax(0))


@pytest.mark.parametrize("shape", [(64, 64, 3), (3, 128, 128)])
def test_large_images_are_sampled_all_over(shape: tuple[int, ...]) -> None:
    encoder = ImageEncoder(spaces.Box(0, 255, shape, np.uint8), 8)
    rows = max(40, 3 * PIXELS_PER_UPDATE // int(np.prod(shape)))
    across = torch.linspace(0, 255, shape[1]).to(torch.uint8)
    image = across.view(1, -1, 1).expand(shape) if shape[0] == 3 else across.view(-1, 1, 1).expand(shape)
    dark_then_light = torch.stack([image // 4] * (rows // 2) + [image] * (rows - rows // 2))
    encoder.update_statistics(dark_then_light, None)
    assert float(encoder.normalizer.count) == PIXELS_PER_UPDATE
    shares = dark_then_light.float() / 255
    torch.testing.assert_close(encoder.normalizer.mean, shares.mean().expand(3), rtol=0.01, atol=0)
    torch.testing.assert_close(encoder.normalizer.variance, shares.var().expand(3), rtol=0.02, atol=0)


def test_an_image_that_nobody_saw_changes_nothing() -> None:
    encoder = ImageEncoder(spaces.Box(0, 255, (7, 7, 3), np.uint8), 8)
    encoder.update_statistics(torch.zeros(0, 7, 7, 3, dtype=torch.uint8), None)
    assert float(encoder.normalizer.count) == 0


def test_the_policy_sees_its_entries_without_set_masks_and_without_privileged_ones_and_labels() -> None:
    assert set(entry_names(every_kind())) == {
        "vector", "flags", "units", "board", "score", "kind", "kinds", "image", "grid",
    }  # fmt: skip
    assert set(entry_names(targeting())) == {"units", "items", "self"}
    assert set(entry_names(targeting(), "critic")) == {"fog", "secret"}


def test_a_users_encoder_takes_the_place_of_the_entry_it_wants() -> None:
    factory = f"{__name__}:make_sum_encoder"
    spec = every_kind()
    config = PolicyConfig(lstm_units=8, encoder=factory)
    assert isinstance(make_encoder(spec, "vector", config), SumEncoder)
    assert isinstance(make_encoder(spec, "score", config), VectorEncoder)
    assert isinstance(make_encoder(spec, "units", config), EntitySetEncoder)


def test_a_policy_with_a_users_encoder_sees_exactly_what_it_lets_through() -> None:
    spec = every_kind()
    policy = make_policy(spec, encoder=f"{__name__}:make_sum_encoder")
    rows = random_rows(spec, 8)
    before = rows.unroll(policy)
    vector = rows.observation["vector"]
    rows.observation["vector"] = vector.flip(-1)  # the same sum
    torch.testing.assert_close(rows.unroll(policy).value, before.value)
    rows.observation["vector"] = vector + 1
    assert not torch.allclose(rows.unroll(policy).value, before.value)
    policy.update_input_statistics(rows.observation, rows.previous_action, torch.ones(7, 3, 2, dtype=torch.bool))
    own = next(e for e in policy.encoders if isinstance(e, SumEncoder))
    assert own.seen == 7 * 3 * 2


def test_a_space_that_nothing_encodes_is_refused_by_name() -> None:
    spec = GameSpec(
        name="texts",
        teams=1,
        agents_per_team=1,
        observation_space=spaces.Dict({"chat": spaces.Text(10)}),
        action_space=spaces.Dict({"action": spaces.Discrete(2)}),
    )
    with pytest.raises(UnsupportedSpaceError, match=r"texts: observation entry 'chat' is a Text"):
        make_policy(spec)


def test_an_encoder_that_does_not_exist_is_refused_in_one_line() -> None:
    with pytest.raises(UnknownGameError, match=r"model.encoder 'no_such_module:make': there is no module"):
        make_policy(every_kind(), encoder="no_such_module:make")
