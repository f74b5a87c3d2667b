"""Advantages and team spirit against loops over single agents, written from the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quintet.games.api import Array
from quintet.optimizer.advantages import gae, team_spirit


def slow_gae(
    reward: Array, value: Array, terminated: Array, truncated: Array, valid: Array, gamma: float, lam: float
) -> Array:
    """Sum over k of (gamma lambda)^k delta_{t+k}, stream by stream and agent by agent, until the stretch ends."""
    steps, teams, agents = reward.shape
    out = np.zeros(reward.shape)
    for b in range(teams):
        for a in range(agents):
            for t in range(steps):
                weight = 1.0
                for k in range(t, steps):
                    if not valid[k, b, a]:
                        break
                    bootstrap = 0.0 if terminated[k, b, a] else value[k + 1, b, a]
                    out[t, b, a] += weight * (reward[k, b, a] + gamma * bootstrap - value[k, b, a])
                    if terminated[k, b, a] or truncated[k, b, a]:
                        break
                    weight *= gamma * lam
    return out


def fast_gae(arrays: dict[str, Array], gamma: float, lam: float) -> Array:
    tensors = {name: torch.from_numpy(x) for name, x in arrays.items()}
    return gae(**tensors, discount=gamma, gae_lambda=lam).numpy()


def random_rows(seed: int, steps: int, teams: int, agents: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        "reward": rng.standard_normal((steps, teams, agents)).astype(np.float32),
        "value": (3 * rng.standard_normal((steps + 1, teams, agents))).astype(np.float32),
        "terminated": rng.random((steps, teams, agents)) < 0.2,
        "truncated": rng.random((steps, teams, agents)) < 0.2,
        "valid": rng.random((steps, teams, agents)) < 0.8,
    }


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**31),
    steps=st.integers(1, 9),
    teams=st.integers(1, 3),
    agents=st.integers(1, 3),
    gamma=st.sampled_from([0.0, 0.9, 0.99, 1.0]),
    lam=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
)
def test_advantages_are_the_papers_sum_for_every_mixture_of_ends_and_invalid_rows(
    seed: int, steps: int, teams: int, agents: int, gamma: float, lam: float
) -> None:
    arrays = random_rows(seed, steps, teams, agents)
    np.testing.assert_allclose(fast_gae(arrays, gamma, lam), slow_gae(**arrays, gamma=gamma, lam=lam), atol=1e-4)


def one_stream(**changes: list[int]) -> dict[str, Array]:
    """Four rows of one agent: rewards 1, 2, 4, 8, values 10, 20, 30, 40 and 50 behind the last row."""
    rows: dict[str, list[int]] = {
        "reward": [1, 2, 4, 8], "terminated": [0] * 4, "truncated": [0] * 4, "valid": [1] * 4,
        "value": [10, 20, 30, 40, 50],
    } | changes  # fmt: skip
    flags = {name: np.array(rows[name], np.bool_)[:, None, None] for name in ("terminated", "truncated", "valid")}
    numbers = {name: np.array(rows[name], np.float32)[:, None, None] for name in ("reward", "value")}
    return {**numbers, **flags}


def test_a_worked_example_with_nothing_but_the_last_row_to_bootstrap_from() -> None:
    found = fast_gae(one_stream(), gamma=0.5, lam=0.0)[:, 0, 0]
    assert found.tolist() == [1 + 10 - 10, 2 + 15 - 20, 4 + 20 - 30, 8 + 25 - 40]


def test_termination_bootstraps_nothing_and_truncation_the_last_observation() -> None:
    ended = fast_gae(one_stream(terminated=[0, 1, 0, 0], valid=[1, 1, 0, 1]), gamma=0.5, lam=1.0)[:, 0, 0]
    assert ended.tolist() == [1 + 0.5 * 2 - 10, 2 - 20, 0, 8 + 25 - 40]
    cut_off = fast_gae(one_stream(truncated=[0, 1, 0, 0], valid=[1, 1, 0, 1]), gamma=0.5, lam=1.0)[:, 0, 0]
    assert cut_off.tolist() == [1 + 0.5 * (2 + 0.5 * 30) - 10, 2 + 0.5 * 30 - 20, 0, 8 + 25 - 40]


def test_what_invalid_rows_hold_reaches_no_other_row() -> None:
    clean = random_rows(1, 8, 3, 2)
    # The row before an invalid one ended: otherwise its own bootstrap would lie there.
    clean["terminated"][:-1] |= ~clean["valid"][1:]
    garbage = {name: x.copy() for name, x in clean.items()}
    garbage["reward"][~clean["valid"]] = 1e30
    garbage["value"][:-1][~clean["valid"]] = -1e30
    garbage["terminated"][~clean["valid"]] ^= True
    found, expected = fast_gae(garbage, 0.99, 0.95), fast_gae(clean, 0.99, 0.95)
    np.testing.assert_array_equal(found[clean["valid"]], expected[clean["valid"]])
    assert not found[~clean["valid"]].any()


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        # Cut off alone at row 1: row 2 holds its last observation, value 30; it is back at row 3.
        ({"truncated": [0, 1, 0, 0], "valid": [1, 1, 0, 1]}, [1 + 0.5 * (2 + 15 - 20) + 10 - 10, 2 + 15 - 20, 0, -7]),
        # It left by the rules at row 1: nothing bootstraps; it is back at row 3, or at once.
        ({"terminated": [0, 1, 0, 0], "valid": [1, 1, 0, 1]}, [1 + 0.5 * (2 - 20) + 10 - 10, 2 - 20, 0, -7]),
        ({"terminated": [0, 1, 0, 0]}, [1 + 0.5 * (2 - 20) + 10 - 10, 2 - 20, 4 + 20 - 30 + 0.5 * -7, -7]),
        # It joins at row 2.
        ({"valid": [0, 0, 1, 1]}, [0, 0, 4 + 20 - 30 + 0.5 * -7, -7]),
    ],
    ids=["cut off alone, then back", "left, then back", "left and back at once", "joins late"],
)
def test_every_end_of_an_agents_own_bootstraps_what_it_says_and_nothing_crosses_a_gap(
    ends: dict[str, list[int]], expected: list[float]
) -> None:
    """Gamma 0.5 and lambda 1, by hand; another agent of the team plays on and must not notice."""
    one, other = one_stream(**ends), one_stream()
    pair = {name: np.concatenate([one[name], other[name]], axis=2) for name in one}
    found = fast_gae(pair, gamma=0.5, lam=1.0)[:, 0]
    np.testing.assert_allclose(found[:, 0], expected)
    np.testing.assert_array_equal(found[:, 1], fast_gae(other, gamma=0.5, lam=1.0)[:, 0, 0])


def slow_team_spirit(reward: Array, valid: Array, tau: float) -> Array:
    out = np.zeros(reward.shape)
    for t, b in np.ndindex(*reward.shape[:2]):
        team = [float(own) for own, there in zip(reward[t, b], valid[t, b], strict=True) if there]
        for a, own in enumerate(reward[t, b]):
            out[t, b, a] = (1 - tau) * own + tau * sum(team) / len(team) if valid[t, b, a] else own
    return out


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.97, 1.0])
def test_team_spirit_is_the_papers_blend_and_keeps_the_teams_mean(tau: float) -> None:
    reward, valid = torch.randn(4, 3, 5), torch.rand(4, 3, 5) < 0.6
    valid[0] = True
    valid[1, 0] = False
    blended = team_spirit(reward, valid, tau)
    np.testing.assert_allclose(blended.numpy(), slow_team_spirit(reward.numpy(), valid.numpy(), tau), atol=1e-6)
    torch.testing.assert_close((blended * valid).sum(dim=-1), (reward * valid).sum(dim=-1))


def test_no_team_spirit_is_ones_own_reward_and_full_team_spirit_everybodys() -> None:
    reward = torch.tensor([[[1.0, 0.0, 5.0]]])
    everybody = torch.ones_like(reward, dtype=torch.bool)
    assert torch.equal(team_spirit(reward, everybody, 0.0), reward)
    torch.testing.assert_close(team_spirit(reward, everybody, 1.0), torch.full_like(reward, 2.0))


def test_who_has_left_is_no_part_of_the_teams_mean() -> None:
    reward = torch.tensor([[[1.0, 0.0, 5.0]]])
    there = torch.tensor([[[True, False, True]]])
    assert team_spirit(reward, there, 1.0)[there].tolist() == [3.0, 3.0]
