"""The previous action as features."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from quintet.games.api import GameSpec
from quintet.model.previous_action import PreviousAction
from tests.support.policy_factory import every_kind, targeting


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
        "push": [[0.25, -5.0], [0.0, 0.0]],  # of a box of +-2, and of one without an upper bound
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


def box_spec(*bounds: tuple[float, float]) -> GameSpec:
    low, high = zip(*bounds, strict=True)
    return GameSpec(
        name="box",
        teams=1,
        agents_per_team=1,
        observation_space=spaces.Dict({"x": spaces.Box(-1.0, 1.0, (1,))}),
        action_space=spaces.Dict({"aim": spaces.Box(np.array(low, np.float32), np.array(high, np.float32))}),
    )


def test_a_previous_box_action_comes_in_units_of_the_box_clipped_and_none_is_zero() -> None:
    previous = PreviousAction(box_spec((-1000.0, 1000.0), (10.0, 11.0), (0.5, 0.5)))
    out = previous({"aim": torch.tensor([[500.0, 10.5, 0.5], [9000.0, 10.25, 0.5], [0.0, 0.0, 0.0]])})
    assert out.tolist() == [[0.5, 0.0, 0.0], [5.0, -0.5, 0.0], [0.0, 0.0, 0.0]]


def test_where_the_box_has_no_bounds_running_statistics_of_what_was_done_take_their_place() -> None:
    previous = PreviousAction(box_spec((-1.0, 1.0), (-np.inf, np.inf)))
    done = torch.stack([torch.linspace(-1, 1, 50), torch.linspace(400.0, 600.0, 50)], dim=-1)
    none = torch.zeros(30, 2)
    valid = torch.ones(90, dtype=torch.bool)
    valid[80:] = False
    previous.update_statistics({"aim": torch.cat([done, none, torch.full((10, 2), 1e6)])}, valid)
    out = previous({"aim": torch.cat([done, none])})
    torch.testing.assert_close(out[:50, 0], done[:, 0])
    expected = (done[:, 1] - done[:, 1].mean()) / done[:, 1].std(unbiased=False)
    torch.testing.assert_close(out[:50, 1], expected, rtol=1e-4, atol=1e-4)
    assert not out[50:].any()
    assert [name for name in previous.state_dict() if "normalizer" in name]  # they travel with the weights
    assert not PreviousAction(box_spec((-1.0, 1.0))).state_dict()
