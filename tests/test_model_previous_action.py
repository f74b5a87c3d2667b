"""The previous action as features."""

from __future__ import annotations

import torch
from gymnasium import spaces

from games.api import GameSpec
from model.previous_action import PreviousAction
from tests.policy_factory import every_kind, targeting


def test_the_previous_action_is_one_hot_and_nothing_for_none() -> None:
    previous = PreviousAction(every_kind())
    action = {
        "move": torch.tensor([2, -1], dtype=torch.int16),
        "arm.x": torch.tensor([-1, 0], dtype=torch.int16),
        "push": torch.tensor([[0.5, -7.0], [0.0, 0.0]]),
    }
    expected = {
        "arm.x": [[0, 0, 0], [1, 0, 0]],
        "move": [[0, 0, 1, 0], [0, 0, 0, 0]],
        "push": [[0.5, -7.0], [0.0, 0.0]],
    }
    out = previous(action)
    assert torch.equal(out, torch.cat([torch.tensor(x, dtype=torch.float32) for x in expected.values()], dim=-1))
    assert previous.outputs == 9


def test_the_slot_of_a_previous_target_is_left_out_because_it_names_somebody_else_by_now() -> None:
    previous = PreviousAction(targeting())
    action = {name: torch.tensor([1, -1]) for name in ("act", "offset.x")}
    assert previous(action | {"target": torch.tensor([0, 1])}).tolist() == [[0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]
    assert previous.outputs == 6


def test_a_head_of_many_choices_is_looked_up_and_none_is_zero() -> None:
    spec = GameSpec(
        name="many",
        teams=1,
        agents_per_team=1,
        observation_space=spaces.Dict({"x": spaces.Box(-1.0, 1.0, (1,))}),
        action_space=spaces.Dict({"many": spaces.Discrete(100), "few": spaces.Discrete(32)}),
    )
    previous = PreviousAction(spec)
    assert previous.outputs == 32 + 16
    out = previous({"many": torch.tensor([99, -1, 0], dtype=torch.int16), "few": torch.tensor([-1, -1, -1])})
    table = previous.get_parameter("tables.0.weight")
    assert torch.equal(out[0, 32:], table[99])
    assert torch.equal(out[2, 32:], table[0])
    assert not out[1].any()
