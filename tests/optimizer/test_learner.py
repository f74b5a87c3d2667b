"""What one update does to a policy, and what must not do anything to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy
from quintet.optimizer.batch import Batch, Windows, cut_windows, judge_freshness
from quintet.optimizer.config import OptimizerConfig, PPOConfig, Ramp
from quintet.optimizer.learner import Learner, NonFiniteUpdateError
from quintet.wire.link import Precision
from tests.support.in_process_run import CPU, batch_of, counting_game, play_chunks

GAME: dict[str, Any] = {
    "teams": 2, "agents_per_team": 2, "units": 3, "kinds": 3, "shared": 2, "masks": True, "box_dims": 2,
    "leaver_row": 3, "ends": "alternate", "turns": True,
}  # fmt: skip
BPTT = 4


def make_learner(
    *, seed: int = 0, precision: Precision = "float32", config: dict[str, Any] | None = None, **ppo: Any
) -> Learner:
    game = counting_game(1, **GAME)
    torch.manual_seed(seed)
    policy = Policy(game.spec, PolicyConfig(lstm_units=8, precision=precision)).use_device(CPU)
    return Learner(
        policy,
        spec=game.spec,
        ppo=PPOConfig(**ppo),
        config=OptimizerConfig(**(config or {})),
        bptt_steps=BPTT,
        seed=seed,
    )


def played_by(learner: Learner, *, version: int = 1, seed: int = 0) -> Batch:
    spec, chunks = play_chunks(counting_game(4, **GAME), learner.policy, version=version, seed=seed)
    return batch_of(spec, chunks)


def prepared(learner: Learner, seed: int = 50) -> Learner:
    """Normalisers that know the game, as after the warm-up."""
    learner.warm_up(played_by(learner, seed=seed))
    return learner


def state_of(learner: Learner) -> dict[str, Tensor]:
    return learner.snapshot()


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def loss_stats(learner: Learner, batch: Batch) -> dict[str, float]:
    freshness = judge_freshness(batch, 1, 8)
    windows = learner.windows(batch, learner.rows_that_count(batch, freshness), *learner.targets(batch, 0))
    columns = torch.from_numpy(np.flatnonzero(freshness.fresh.reshape(-1)))
    with torch.no_grad():
        loss = learner.loss(windows.pick(columns), 0.01)
    return {name: float(x) for name, x in loss.stats.items()}


def test_a_fresh_chunk_gives_a_ratio_of_one(precision: Precision) -> None:
    learner = prepared(make_learner(clip=1e-5, precision=precision))
    stats = loss_stats(learner, played_by(learner))
    assert stats["losses/clipfrac"] == 0.0  # every ratio lies within 1e-5 of one
    assert abs(stats["losses/approx_kl"]) < 1e-6


def test_a_chunk_from_perturbed_weights_gives_another_ratio() -> None:
    learner, other = prepared(make_learner()), prepared(make_learner())
    with torch.no_grad():
        for parameter in other.policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    stats = loss_stats(learner, played_by(other))
    assert stats["losses/approx_kl"] > 1e-3
    assert stats["losses/clipfrac"] > 0.0


def test_one_update_moves_every_weight_and_the_surrogate_in_the_right_direction(precision: Precision) -> None:
    still, fast = Ramp(value=0.0), Ramp(value=1e-3)
    learner = prepared(make_learner(precision=precision, entropy_coefficient=still, learning_rate=fast))
    batch, before = played_by(learner), learner.snapshot()
    loss_before = loss_stats(learner, batch)
    update = learner.update(batch, version=1, agent_steps=0)
    assert update.gradient_steps == 1
    names = [n for n, _ in learner.policy.named_parameters()]
    after = learner.snapshot()
    assert [n for n in names if torch.equal(before[f"policy.{n}"], after[f"policy.{n}"])] == []
    learner.restore({**after, **{n: x for n, x in before.items() if "normalizer" in n or "returns" in n}})
    for name in ("value.weight", "value.bias"):  # PopArt moved them on purpose
        learner.policy.state_dict()[name].copy_(before[f"policy.{name}"])
    assert loss_stats(learner, batch)["losses/policy_loss"] < loss_before["losses/policy_loss"]


def spoil_window(batch: Batch, column: int, array: Callable[[Batch], Tensor]) -> None:
    """NaN in one row of one window."""
    chunks = batch.first.shape[1]
    array(batch)[BPTT * (column // chunks) + 1, column % chunks] = float("nan")


@pytest.mark.parametrize("minibatches", [1, 5])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_batch_that_is_not_finite_leaves_policy_and_moments_as_they_were(minibatches: int, epochs: int) -> None:
    learner = prepared(make_learner(minibatches=minibatches, epochs=epochs, normalize_advantages=False))
    learner.update(played_by(learner), version=1, agent_steps=0)
    before, batch = state_of(learner), played_by(learner, seed=1)
    applied: list[None] = []
    step = learner.adam.step
    learner.adam.step = lambda *a, **k: applied.append(None) or step(*a, **k)  # type: ignore[method-assign, func-returns-value]
    acting = (batch.acting & batch.valid)[1::BPTT].any(dim=-1).reshape(-1)
    spoil_window(batch, int(acting.nonzero()[-1]), lambda b: b.log_prob["action"])
    with pytest.raises(NonFiniteUpdateError, match="loss is nan"):
        learner.update(batch, version=1, agent_steps=0)
    assert_same(state_of(learner), before)
    if minibatches > 1:
        assert applied, "no good minibatch came before the bad one: the test shows nothing"


def test_after_a_bad_batch_learning_goes_on_as_if_it_had_never_come() -> None:
    learner, undisturbed = (prepared(make_learner(minibatches=3)) for _ in range(2))
    good, bad = played_by(learner), played_by(learner, seed=1)
    bad.reward[3] = float("inf")
    with pytest.raises(NonFiniteUpdateError):
        learner.update(bad, version=1, agent_steps=0)
    learner.update(good, version=1, agent_steps=0)
    undisturbed.update(good, version=1, agent_steps=0)
    assert_same(state_of(learner), state_of(undisturbed))


def with_stale_half(seed: int) -> Batch:
    """Chunks whose first windows were played long ago (version 1), and one that is altogether old."""
    batch = played_by(prepared(make_learner()), version=20, seed=seed)
    batch.version[0] = 1
    batch.version[:, 0] = 1
    return batch


@pytest.mark.slow
@pytest.mark.parametrize("ppo", [{}, {"minibatches": 2, "epochs": 2}, {"normalize_advantages": False}])
def test_stale_windows_are_counted_and_nothing_in_them_reaches_the_update(ppo: dict[str, Any]) -> None:
    clean, dirty = with_stale_half(7), with_stale_half(7)
    stale = torch.from_numpy(np.repeat(judge_freshness(dirty, 21, 8).fresh, BPTT, axis=0)).logical_not()
    rng = torch.Generator().manual_seed(0)
    rows = [dirty.reward, dirty.value[:-1], *dirty.log_prob.values(), dirty.observation["counter"]]
    for x in rows:
        noise = 100 * torch.randn(x.shape, generator=rng)
        x.copy_(torch.where(stale.reshape(*stale.shape, *[1] * (x.ndim - 2)), noise, x))
    dirty.lstm_state[0] = 3.0
    learners = [prepared(make_learner(**ppo)) for _ in range(2)]
    updates = [x.update(b, version=21, agent_steps=0) for x, b in zip(learners, (clean, dirty), strict=True)]
    assert_same(state_of(learners[0]), state_of(learners[1]))
    freshness = updates[0].freshness
    assert freshness.stale_windows[0] == clean.windows[0]
    assert freshness.stale_windows[1:].tolist() == [1] * (len(clean.windows) - 1)
    assert (freshness.trained_windows + freshness.stale_windows).tolist() == clean.windows.tolist()
    assert updates[0].stats == updates[1].stats


def test_a_batch_in_which_everything_is_stale_changes_nothing() -> None:
    learner = prepared(make_learner())
    batch, before = played_by(learner), state_of(learner)
    update = learner.update(batch, version=100, agent_steps=0)
    assert (update.gradient_steps, update.stats) == (0, {})
    assert update.freshness.trained_windows.sum() == 0
    assert_same(state_of(learner), before)


def test_learning_goes_on_from_a_snapshot_to_the_last_bit(precision: Precision) -> None:
    learner = prepared(make_learner(precision=precision, minibatches=2, epochs=2))
    batches = [played_by(learner, seed=k) for k in range(3)]
    learner.update(batches[0], version=1, agent_steps=0)
    snapshot = learner.snapshot()
    other = make_learner(seed=9, precision=precision, minibatches=2, epochs=2)
    other.restore(snapshot)
    for batch in batches[1:]:
        learner.update(batch, version=1, agent_steps=0)
        other.update(batch, version=1, agent_steps=0)
    assert_same(learner.snapshot(), other.snapshot())
    assert not torch.equal(snapshot["policy.layer.weight"], learner.snapshot()["policy.layer.weight"])


def test_a_snapshot_is_a_copy_and_restoring_it_undoes_everything() -> None:
    learner = prepared(make_learner())
    snapshot = learner.snapshot()
    learner.update(played_by(learner), version=1, agent_steps=0)
    assert any(name.startswith("adam.") for name in learner.snapshot())
    learner.restore(snapshot)
    assert_same(learner.snapshot(), snapshot)


def test_the_warm_up_moves_normalisers_and_nothing_else() -> None:
    learner = make_learner()
    before = state_of(learner)
    batch = played_by(learner)
    learner.warm_up(batch)
    after = state_of(learner)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all("normalizer" in n or "returns." in n or n.startswith("policy.value.") for n in moved)
    k = learner.policy.entries.index("counter")
    assert float(after[f"policy.encoders.{k}.normalizer.count"]) == int(batch.valid.sum())


def test_inputs_are_left_alone_where_normalisation_is_turned_off() -> None:
    learner = make_learner(config={"normalize_observations": False})
    learner.warm_up(played_by(learner))
    learner.update(played_by(learner), version=1, agent_steps=0)
    assert not any(float(x.sum()) for n, x in state_of(learner).items() if n.endswith("normalizer.count"))
    assert float(learner.policy.returns.weight) > 0


def recorded(learner: Learner) -> list[Windows]:
    """What every gradient step sees."""
    seen: list[Windows] = []
    step = learner._gradient_step

    def record(windows: Windows, entropy_coefficient: float) -> dict[str, float]:
        seen.append(windows)
        return step(windows, entropy_coefficient)

    learner._gradient_step = record  # type: ignore[method-assign]
    return seen


def test_every_epoch_sees_every_fresh_window_once() -> None:
    learner = prepared(make_learner(epochs=2, minibatches=3))
    batch, seen = played_by(learner), recorded(learner)
    assert learner.update(batch, version=1, agent_steps=0).gradient_steps == 6
    whole = cut_windows(batch, {}, BPTT).log_prob["action"].sum(dim=(0, 2))
    real = np.flatnonzero((np.arange(batch.version.shape[0])[:, None] < batch.windows[None]).reshape(-1))
    for epoch in (seen[:3], seen[3:]):
        sums = torch.cat([w.log_prob["action"].sum(dim=(0, 2)) for w in epoch])
        torch.testing.assert_close(sums.sort().values, whole[torch.from_numpy(real)].sort().values)
    assert not torch.equal(seen[0].state, seen[3].state)


def test_advantages_of_a_batch_have_mean_zero_and_deviation_one_over_the_rows_of_the_policy_loss() -> None:
    learner = prepared(make_learner(advantage_floor=0.0))
    seen = recorded(learner)
    learner.update(played_by(learner), version=1, agent_steps=0)
    rows = seen[0].rows
    advantage = rows["advantage"][rows["policy_mask"] == 1]
    assert float(advantage.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(advantage.std(unbiased=False)) == pytest.approx(1.0, abs=1e-4)
    assert bool((rows["policy_mask"] <= rows["value_mask"]).all())
    assert float(rows["policy_mask"].sum()) < float(rows["value_mask"].sum()) < rows["value_mask"].numel()


def test_advantages_that_are_errors_of_the_value_alone_are_not_blown_up() -> None:
    """Beside a return's scale of 1, a spread of a hundredth keeps a tenth of what normalising would make of it."""
    learner = prepared(make_learner())
    learner.policy.returns.scale.copy_(torch.ones(()))
    advantage, mask = torch.tensor([-0.01, 0.01, 0.01, -0.01, 7.0]), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])
    mean, divisor = learner.advantage_units(advantage, mask)
    assert float(mean) == pytest.approx(0.0, abs=1e-7)
    assert float(divisor) == pytest.approx((0.01**2 + 0.1**2) ** 0.5)
    assert float(learner.advantage_units(100 * advantage, mask)[1]) == pytest.approx((1 + 0.1**2) ** 0.5)
    learner.adjust(replace(learner.ppo, advantage_floor=0.0), learner.config)
    assert float(learner.advantage_units(advantage, mask)[1]) == pytest.approx(0.01, rel=1e-5)


def test_the_schedules_are_read_at_the_agent_steps_of_the_batch() -> None:
    slope = Ramp(value=1.0, end=0.0, until_steps=1000)
    learner = prepared(make_learner(learning_rate=slope, entropy_coefficient=slope, team_spirit=slope))
    batch = played_by(learner)
    stats = learner.update(batch, version=1, agent_steps=750).stats
    assert stats["losses/learning_rate"] == stats["losses/entropy_coefficient"] == 0.25
    assert learner.adam.param_groups[0]["lr"] == 0.25
    by_minutes = Ramp(value=1.0, end=0.0, until_minutes=1)
    learner.adjust(replace(learner.ppo, learning_rate=by_minutes, entropy_coefficient=by_minutes), learner.config)
    stats = learner.update(batch, version=1, agent_steps=750, trained_s=45.0).stats
    assert stats["losses/learning_rate"] == stats["losses/entropy_coefficient"] == 0.25
    batch.reward[..., 0] += 1  # in the counting game all agents get the same
    selfish, shared = (learner.targets(batch, agent_steps=n)[0] for n in (1000, 0))
    assert not torch.allclose(selfish, shared)


def test_a_kl_beyond_the_target_ends_the_epochs() -> None:
    eager: dict[str, Any] = {"learning_rate": Ramp(value=0.05), "epochs": 6}
    learner = prepared(make_learner(**eager))
    batch = played_by(learner)
    assert learner.update(batch, version=1, agent_steps=0).gradient_steps == 6
    stopped = prepared(make_learner(**eager, target_kl=1e-4))
    update = stopped.update(batch, version=1, agent_steps=0)
    assert 1 < update.gradient_steps < 6
    assert update.epochs == update.gradient_steps


@pytest.mark.parametrize(("kl", "epochs"), [((0.0, 0.0, 0.0, 0.9), 4), ((0.5, 0.5, 0.5, 0.0), 1)])
def test_the_kl_that_ends_the_epochs_is_the_mean_over_the_minibatches_of_one(
    kl: tuple[float, ...], epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = prepared(make_learner(epochs=4, minibatches=4, target_kl=0.3))
    seen = itertools.cycle(kl)
    monkeypatch.setattr(learner, "_gradient_step", lambda *_: {"losses/approx_kl": next(seen)})
    update = learner.update(played_by(learner), version=1, agent_steps=0)
    assert (update.gradient_steps, update.epochs) == (4 * epochs, epochs)


@pytest.mark.parametrize("clip", ["global_norm", "none"])
def test_the_global_norm_clip_bounds_the_whole_gradient(clip: str) -> None:
    learner = prepared(make_learner(gradient_clip=clip, max_gradient_norm=0.01))
    stats = learner.update(played_by(learner), version=1, agent_steps=0).stats
    norm = torch.cat([p.grad.flatten() for p in learner.parameters if p.grad is not None]).norm()
    assert stats["losses/gradient_norm"] > 0.02
    assert float(norm) == pytest.approx(0.01 if clip == "global_norm" else stats["losses/gradient_norm"], rel=1e-3)
