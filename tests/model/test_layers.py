"""Layers side by side against the same layers one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from quintet.model.layers import Linear, side_by_side

WIDTHS = (2, 5, 1)


def make_layers(dtypes: tuple[torch.dtype, ...]) -> list[Linear]:
    torch.manual_seed(0)
    layers = [Linear(6, width) for width in WIDTHS]
    for layer, dtype in zip(layers, dtypes, strict=True):
        torch.nn.init.normal_(layer.bias)
        layer.compute_dtype = dtype
    return layers


def values_and_gradients(outs: list[Tensor], layers: list[Linear], x: Tensor) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    total = torch.stack([(out.float() * torch.randn(out.shape, generator=random)).sum() for out in outs]).sum()
    return [*outs, *torch.autograd.grad(total, [x, *(p for layer in layers for p in layer.parameters())])]


@pytest.mark.parametrize(
    "dtypes",
    [(torch.float32,) * 3, (torch.bfloat16, torch.float32, torch.bfloat16)],
)
def test_they_give_what_each_gives_alone_in_its_own_format_and_so_do_their_gradients(
    dtypes: tuple[torch.dtype, ...],
) -> None:
    layers, x = make_layers(dtypes), torch.randn(4, 3, 6, requires_grad=True)
    found = values_and_gradients(side_by_side(layers, x), layers, x)
    expected = values_and_gradients([layer(x) for layer in layers], layers, x)
    precision = 2e-2 if torch.bfloat16 in dtypes else 1e-5
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=precision, atol=precision)


def test_those_of_one_format_share_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []
    linear = torch.nn.functional.linear

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        widths.append(weight.shape[0])
        return linear(x, weight, bias)

    monkeypatch.setattr(torch.nn.functional, "linear", counted)
    side_by_side(make_layers((torch.bfloat16, torch.float32, torch.bfloat16)), torch.randn(3, 6))
    assert widths == [3, 5]
