"""Playing row by row and training on a window are one network: `act` equals `unroll`, with resets in the middle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from quintet.games.api import GameSpec
from quintet.model.config import PolicyConfig
from quintet.model.policy import Acted, Policy, joint
from quintet.wire.link import Precision
from tests.support.policy_factory import (
    Rows,
    every_kind,
    make_policy,
    plain,
    random_actions,
    random_rows,
    row_of,
    targeting,
)

SPEC = every_kind()


def fitted_policy(spec: GameSpec = SPEC, **config: Any) -> Policy:
    """A policy whose normalisers have seen something."""
    policy = make_policy(spec, **config)
    seen = random_rows(spec, 8, rows=20, seed=9)
    policy.update_input_statistics(seen.observation, seen.previous_action, torch.ones(20, 3, 2, dtype=torch.bool))
    policy.returns.update(torch.tensor([10.0, 30.0, 20.0]), decay=0.9, value_head=policy.value)
    return policy


def step_through(policy: Policy, rows: Rows) -> list[Acted]:
    """Act on one row after the other, handing the state over."""
    state, acted = rows.state, []
    generator = torch.Generator().manual_seed(0)
    for t in range(rows.first.shape[0]):
        acted.append(policy.act(*rows.row(t), state, generator))
        state = acted[-1].state
    return acted


def value_of(policy: Policy, rows: Rows) -> Tensor:
    with torch.no_grad():
        return rows.unroll(policy).value


@pytest.mark.parametrize("spec", [SPEC, targeting(), targeting(relations=False)], ids=["kinds", "targets", "shared"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.03)])
def test_acting_row_by_row_equals_unrolling_the_window_with_resets_in_the_middle(
    precision: str, tolerance: float, spec: GameSpec
) -> None:
    policy, rows = fitted_policy(spec, precision=precision), random_rows(spec, 8)
    assert rows.first[1:].any()
    acted = step_through(policy, rows)
    unrolled = rows.unroll(policy)
    actions = {head: torch.stack([a.action[head] for a in acted]) for head in acted[0].action}
    for head, at_once in policy.evaluate(unrolled, rows.observation, actions).log_prob.items():
        stepped = torch.stack([a.log_prob[head] for a in acted])
        torch.testing.assert_close(stepped, at_once.detach(), rtol=tolerance, atol=tolerance)
    for name, logits in unrolled.auxiliary.items():
        predicted = policy.auxiliary.probabilities({name: logits.detach()})[name]
        stepped = torch.stack([a.auxiliary[name] for a in acted])
        torch.testing.assert_close(stepped, predicted, rtol=tolerance, atol=tolerance)
    values = torch.stack([a.value for a in acted])
    torch.testing.assert_close(
        values, policy.returns.denormalize(unrolled.value).detach(), rtol=tolerance, atol=10 * tolerance
    )
    torch.testing.assert_close(acted[-1].state, unrolled.state.detach(), rtol=tolerance, atol=tolerance)


def test_every_output_has_its_promised_shape() -> None:
    policy, rows = fitted_policy(), random_rows(SPEC, 8, rows=7, teams=3)
    unrolled = rows.unroll(policy)
    assert unrolled.value.shape == (7, 3, 2)
    assert unrolled.hidden.shape == (7, 3, 2, 8)
    assert unrolled.state.shape == policy.initial_state(3).shape == (3, 2, 2, 8)
    acted = step_through(policy, rows)[0]
    assert {head: tuple(x.shape) for head, x in acted.action.items()} == {
        "move": (3, 2),
        "arm.x": (3, 2),
        "push": (3, 2, 2),
    }
    assert all(x.shape == (3, 2) for x in acted.log_prob.values())


def test_a_reset_forgets_the_state_and_nothing_else_does() -> None:
    policy, rows = fitted_policy(), random_rows(SPEC, 8)
    rows.first[:] = False
    rows.first[3, 0] = True
    before = value_of(policy, rows)
    rows.state.add_(torch.randn_like(rows.state))
    after = value_of(policy, rows)
    assert torch.equal(after[3:, 0], before[3:, 0])
    assert bool((after[:3, 0] != before[:3, 0]).all())
    assert bool((after[:, 1:] != before[:, 1:]).any(dim=-1).all())


def test_the_zero_state_ablation_makes_every_row_stand_alone() -> None:
    policy, rows = fitted_policy(zero_state=True), random_rows(SPEC, 8)
    rows.first[:] = False
    whole = value_of(policy, rows)
    rows.state.zero_()
    torch.testing.assert_close(value_of(policy, rows), whole)
    for t, acted in enumerate(step_through(policy, rows)):
        torch.testing.assert_close(acted.value, policy.returns.denormalize(whole[t]), rtol=1e-5, atol=1e-4)
    remembering = fitted_policy()
    assert not torch.allclose(value_of(remembering, rows)[1:], whole[1:], atol=1e-3)


def test_illegal_choices_are_never_played(precision: Precision) -> None:
    policy, rows = fitted_policy(precision=precision), random_rows(SPEC, 8, rows=60, teams=8)
    for t, acted in enumerate(step_through(policy, rows)):
        legal = rows.observation["action_mask/move"][t].gather(-1, acted.action["move"].unsqueeze(-1))
        assert bool(legal.all())


def test_greedy_play_takes_the_likeliest_choice_of_every_head(precision: Precision) -> None:
    policy, rows = fitted_policy(precision=precision), random_rows(SPEC, 8)
    acted = policy.act(*rows.row(0), rows.state, greedy=True)
    unrolled = rows.unroll(policy)
    for head in SPEC.action_space.spaces:
        distribution = policy.heads.distribution(head, unrolled.queries, unrolled.keys, rows.observation, None)
        torch.testing.assert_close(acted.action[head], distribution.mode()[0].detach())


@pytest.mark.parametrize("name", ["units", "board"])
def test_masked_slots_of_a_set_and_their_contents_are_not_seen(name: str) -> None:
    policy, rows = fitted_policy(), random_rows(SPEC, 8)
    before = value_of(policy, rows)
    mask = rows.observation[f"{name}_mask"].unsqueeze(-1)
    x = rows.observation[name]
    rows.observation[name] = torch.where(mask, x, torch.full_like(x, -1e10))
    assert torch.equal(value_of(policy, rows), before)
    rows.observation[name] = torch.where(mask, x + 1, x)
    assert not torch.equal(value_of(policy, rows), before)


def test_masked_slots_and_invalid_rows_stay_out_of_the_statistics() -> None:
    rows = random_rows(SPEC, 8)
    valid = torch.rand(7, 3, 2) < 0.5
    a, b = make_policy(SPEC), make_policy(SPEC)
    a.update_input_statistics(rows.observation, rows.previous_action, valid)
    for name in ("vector", "grid", "units"):
        shape = valid.shape + (1,) * (rows.observation[name].ndim - 3)
        rows.observation[name] = torch.where(valid.reshape(shape), rows.observation[name], torch.tensor(1e10))
    any_valid = valid.any(dim=-1)
    rows.observation["score"] = torch.where(any_valid.unsqueeze(-1), rows.observation["score"], torch.tensor(1e10))
    b.update_input_statistics(rows.observation, rows.previous_action, valid)
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name


@pytest.mark.parametrize("name", ["vector", "score", "units"])
def test_statistics_count_every_valid_row_or_slot_once(name: str) -> None:
    policy, rows = make_policy(SPEC), random_rows(SPEC, 8)
    valid = torch.rand(7, 3, 2) < 0.5
    policy.update_input_statistics(rows.observation, rows.previous_action, valid)
    count = policy.state_dict()[f"encoders.{policy.entries.index(name)}.normalizer.count"]
    expected = {
        "vector": valid.sum(),
        "score": valid.any(dim=-1).sum(),
        "units": (rows.observation["units_mask"] & valid.unsqueeze(-1)).sum(),
    }
    assert int(count) == int(expected[name])


def test_what_a_team_shares_reaches_all_its_agents_and_no_other_team() -> None:
    policy, rows = fitted_policy(), random_rows(SPEC, 8)
    before = value_of(policy, rows)
    rows.observation["score"][0, 1] += 1
    moved = (value_of(policy, rows) != before)[0]
    assert moved.tolist() == [[False, False], [True, True], [False, False]]


def test_agents_without_a_pool_do_not_see_one_anothers_entries_or_states() -> None:
    policy, rows = fitted_policy(cross_agent_pool=0.0), random_rows(SPEC, 8)
    before = value_of(policy, rows)
    rows.observation["vector"][:, 1, 0] += 1
    rows.state[1, 0] += 1
    moved = (value_of(policy, rows) != before).any(dim=0)
    assert moved.tolist() == [[False, False], [True, False], [False, False]]


def test_the_first_quarter_of_what_enters_the_lstm_is_the_maximum_over_the_team_and_the_rest_is_the_agents_own() -> (
    None
):
    pooled, apart = fitted_policy(), fitted_policy(cross_agent_pool=0.0)
    apart.load_state_dict(pooled.state_dict())
    rows = random_rows(SPEC, 8)
    entering = []
    for policy in (pooled, apart):
        policy.lstm.register_forward_pre_hook(lambda _, args: entering.append(args[0].reshape(7, 3, 2, -1)))
        rows.unroll(policy)
    together, own = entering
    quarter = own.shape[-1] // 4
    assert quarter == 8
    torch.testing.assert_close(together[..., quarter:], own[..., quarter:])
    highest = own[..., :quarter].max(dim=2, keepdim=True).values
    torch.testing.assert_close(together[..., :quarter], highest.expand(7, 3, 2, quarter))
    assert not torch.equal(own[..., :quarter], together[..., :quarter])


def test_an_agent_hears_of_its_own_team_alone() -> None:
    policy, rows = fitted_policy(), random_rows(SPEC, 8)
    before = value_of(policy, rows)
    rows.observation["vector"][:, 1, 0] += 3
    moved = (value_of(policy, rows) != before).any(dim=0)
    assert moved.tolist() == [[False, False], [True, True], [False, False]]


def test_the_previous_action_is_seen() -> None:
    policy, rows = fitted_policy(), random_rows(SPEC, 8)
    before = value_of(policy, rows)
    rows.previous_action["arm.x"][0] = (rows.previous_action["arm.x"][0] + 2) % 4 - 1
    assert bool((value_of(policy, rows)[0] != before[0]).all())


@pytest.mark.parametrize(
    "name", ["vector", "flags", "units", "board", "score", "kind", "kinds", "image", "grid", "action_mask/move"]
)
def test_every_entry_for_the_policy_is_needed_and_the_privileged_one_is_not(name: str) -> None:
    policy, rows = fitted_policy(), random_rows(SPEC, 8)
    del rows.observation["secret"]
    policy.act(*rows.row(0), rows.state)
    del rows.observation[name]
    with pytest.raises(KeyError, match=name):
        policy.act(*rows.row(0), rows.state)


def test_privileged_entries_move_the_value_and_never_the_action() -> None:
    spec = targeting()
    policy, rows = fitted_policy(spec), random_rows(spec, 8)
    actions = random_actions(spec, rows)
    before = rows.unroll(policy)
    for name in ("fog", "secret"):
        changed = Rows(
            observation=rows.observation | {name: rows.observation[name] + 1},
            first=rows.first,
            previous_action=rows.previous_action,
            state=rows.state,
        )
        after = changed.unroll(policy)
        assert bool((after.value != before.value).any()), name
        assert torch.equal(after.hidden, before.hidden)
        one = policy.evaluate(before, rows.observation, actions)
        other = policy.evaluate(after, changed.observation, actions)
        for head, log_prob in one.log_prob.items():
            assert torch.equal(log_prob, other.log_prob[head])


def test_without_privileged_entries_the_value_is_the_mean_return_and_some_of_them_are_not_enough() -> None:
    spec = targeting()
    policy, rows = fitted_policy(spec), random_rows(spec, 8)
    with_them = policy.act(*rows.row(0), rows.state, torch.Generator().manual_seed(0))
    observation = {n: x for n, x in rows.observation.items() if spec.uses.get(n, "policy") == "policy"}
    alone = policy.act(row_of(observation, 0), *rows.row(0)[1:], rows.state, torch.Generator().manual_seed(0))
    assert torch.equal(alone.value, policy.returns.mean.expand(3, 2))
    assert not torch.equal(with_them.value, alone.value)
    for head, action in with_them.action.items():
        assert torch.equal(action, alone.action[head])
    with pytest.raises(KeyError, match="fog"):
        policy.act(row_of(observation | {"secret": rows.observation["secret"]}, 0), *rows.row(0)[1:], rows.state)


def test_labels_are_never_seen() -> None:
    spec = targeting()
    policy, rows = fitted_policy(spec), random_rows(spec, 8)
    before = value_of(policy, rows)
    del rows.observation["will_win"], rows.observation["rank"]
    assert torch.equal(value_of(policy, rows), before)


@pytest.mark.parametrize("spec", [SPEC, targeting()], ids=["kinds", "targets"])
def test_every_parameter_gets_a_gradient(spec: GameSpec, precision: Precision) -> None:
    policy, rows = fitted_policy(spec, precision=precision), random_rows(spec, 8, rows=16, teams=8)
    unrolled = rows.unroll(policy)
    evaluated = policy.evaluate(unrolled, rows.observation, random_actions(spec, rows))
    total = unrolled.value.sum() + joint(evaluated.log_prob).sum() + joint(evaluated.entropy).sum()
    total = total + sum(logits.square().sum() for logits in unrolled.auxiliary.values())
    total.backward()  # type: ignore[no-untyped-call]
    assert [n for n, p in policy.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_returns_scale_that_moves_does_not_move_the_value_of_a_privileged_critic() -> None:
    spec = targeting()
    policy, rows = fitted_policy(spec), random_rows(spec, 8)
    before = policy.returns.denormalize(value_of(policy, rows))
    policy.returns.update(torch.tensor([-700.0, 300.0]), decay=0.5, value_head=policy.value)
    torch.testing.assert_close(policy.returns.denormalize(value_of(policy, rows)), before, rtol=1e-4, atol=1e-3)


def test_statistics_of_privileged_entries_are_kept_as_well() -> None:
    spec = targeting()
    policy, rows = make_policy(spec), random_rows(spec, 8)
    policy.update_input_statistics(rows.observation, rows.previous_action, torch.ones(7, 3, 2, dtype=torch.bool))
    counts = {n: int(x) for n, x in policy.state_dict().items() if n.startswith("critic") and n.endswith("count")}
    fog, secret = (
        f"critic_encoders.{policy.critic_encoders.names.index(n)}.normalizer.count" for n in ("fog", "secret")
    )
    assert counts == {fog: int(rows.observation["fog_mask"].sum()), secret: 7 * 3 * 2}


def test_widths_follow_from_the_one_dial() -> None:
    assert PolicyConfig(lstm_units=1024).hidden_units == 512
    assert PolicyConfig(lstm_units=8).hidden_units == 32
    assert PolicyConfig(lstm_units=128, encoder_units=100).hidden_units == 100
    assert PolicyConfig(lstm_units=1024).embedding_units == 128
    assert PolicyConfig(lstm_units=8).embedding_units == 32
    assert PolicyConfig(lstm_units=1024, slot_units=50).embedding_units == 50
    assert PolicyConfig(lstm_units=1024).embedding_units == 128
    assert PolicyConfig(lstm_units=8).embedding_units == 32
    assert PolicyConfig(lstm_units=1024, slot_units=50).embedding_units == 50
    assert PolicyConfig(lstm_units=1024).embedding_units == 128
    assert PolicyConfig(lstm_units=8).embedding_units == 32
    assert PolicyConfig(lstm_units=1024, slot_units=50).embedding_units == 50
    assert PolicyConfig(lstm_units=1024).embedding_units == 128
    assert PolicyConfig(lstm_units=8).embedding_units == 32
    assert PolicyConfig(lstm_units=1024, slot_units=50).embedding_units == 50
    with pytest.raises(ValueError, match=r"model\.lstm_units is 0"):
        PolicyConfig(lstm_units=0)
    with pytest.raises(ValueError, match=r"model\.cross_agent_pool is 1\.5; it must be between 0 and 1"):
        PolicyConfig(cross_agent_pool=1.5)
    with pytest.raises(ValueError, match=r"model\.cross_agent_pool is 1\.5; it must be between 0 and 1"):
        PolicyConfig(cross_agent_pool=1.5)
    with pytest.raises(ValueError, match=r"model\.cross_agent_pool is 1\.5; it must be between 0 and 1"):
        PolicyConfig(cross_agent_pool=1.5)
    with pytest.raises(ValueError, match=r"model\.cross_agent_pool is 1\.5; it must be between 0 and 1"):
        PolicyConfig(cross_agent_pool=1.5)


def test_the_value_head_stays_in_float32_when_products_run_in_bfloat16() -> None:
    policy = make_policy(plain(), precision="bfloat16")
    assert policy.precision == "bfloat16"
    assert policy.value.compute_dtype == torch.float32
    assert make_policy(plain(), precision="float32").precision == "float32"
