"""The kernels that `compile_kernels` compiles ahead are those that playing and training call, and all of them."""

from __future__ import annotations

from typing import Any

import torch

from quintet.model.kernels import entity_rows, lstm_rows
from quintet.model.kernels.precompile import compile_kernels
from tests.support.policy_factory import make_policy, random_actions, random_rows, targeting


def compiled_for() -> dict[str, list[Any]]:
    """Every kernel that was compiled or loaded, and the types that it was compiled for."""
    every = {**vars(lstm_rows), **vars(entity_rows)}
    return {name: list(k.signatures) for name, k in every.items() if getattr(k, "signatures", [])}


def test_playing_and_training_find_every_kernel_compiled() -> None:
    compile_kernels()
    before = compiled_for()
    assert {"forward_row", "backward_row", "embed", "embed_backward", "point", "pointed_backward"} <= before.keys()
    spec = targeting()
    policy, rows = make_policy(spec, precision="float32"), random_rows(spec, 8)
    policy.act(*rows.row(0), rows.state)
    unrolled = rows.unroll(policy)
    evaluated = policy.evaluate(unrolled, rows.observation, random_actions(spec, rows))
    total = torch.stack([x.sum() for x in (*evaluated.log_prob.values(), unrolled.value)]).sum()
    total.backward()  # type: ignore[no-untyped-call]
    assert compiled_for() == before
