"""The encoder of entity sets against its slow, paper-shaped twin, by torch's operators and compiled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from quintet.games.api import GameSpec
from quintet.model import entity_sets
from quintet.model.entity_sets import EncodedSet, EntitySetEncoder
from quintet.model.kernels import entity_embedding
from quintet.model.kernels.entity_embedding import SlotKeys, pointed
from tests.support.policy_factory import Rows, make_policy, random_rows, targeting

SPEC = targeting()
PATHS = ["compiled", "operators"]


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to compute the same."""
    if request.param == "operators":
        monkeypatch.setattr(entity_sets, "compilable", lambda *_: False)
    return str(request.param)


def encoder_of(spec: GameSpec = SPEC, name: str = "units", units: int = 5) -> EntitySetEncoder:
    torch.manual_seed(0)
    encoder = EntitySetEncoder(spec, name, units)
    encoder.normalizer.update(torch.randn(100, encoder.normalizer.mean.numel()) * 3 + 1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return encoder


def units_of(seed: int = 0, rows: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Units [R, 1, 3, 6], which are there [R, 1, 3] (none in row 0), and where the agents stand [R, 2, 2]."""
    observation = random_rows(SPEC, 8, rows=rows, teams=1, seed=seed).observation
    there = torch.rand(rows, 1, 3, generator=torch.Generator().manual_seed(seed)) < 0.6
    there[0] = False
    position = observation["self"].flatten(0, 1)[..., list(SPEC.relations["units"].agent_columns)]
    return observation["units"], there, position


def slow(encoder: EntitySetEncoder, x: Tensor, there: Tensor, agent: Tensor, a: int) -> tuple[Tensor, Tensor]:
    """Row by row as the paper tells it: [N, F], [N], [d] -> embeddings [N, S] and their maximum [S]."""
    relation, embeddings = SPEC.relations["units"], []
    for n in range(x.shape[0]):
        hidden = encoder.first(encoder.normalizer(x[n, [1, 2, 3, 5]]))
        assert encoder.categories is not None
        hidden = hidden + encoder.categories[int(x[n, 0])] + encoder.categories[3 + int(x[n, 4])]
        slot = encoder.second(torch.relu(hidden))
        offset = (x[n, list(relation.set_columns)] - agent) / relation.scale
        features = torch.cat((offset, offset.norm()[None])).clamp(-5, 5)
        assert encoder.related is not None
        embedding = torch.relu(slot + encoder.related.weight @ features)
        embeddings.append(embedding if there[n] else torch.zeros_like(embedding))
    stacked = torch.stack(embeddings)
    return stacked, stacked.max(dim=0).values


def test_embeddings_maximum_and_own_slot_are_those_of_the_slow_twin(path: str) -> None:
    encoder, (x, there, agent) = encoder_of(), units_of()
    found = encoder(x, there, agent)
    assert found.keys.compiled == (path == "compiled")
    for r, a in np.ndindex(6, 2):
        embeddings, pooled = slow(encoder, x[r, 0], there[r, 0], agent[r, a], a)
        torch.testing.assert_close(found.keys.embedding[r, a], embeddings)
        torch.testing.assert_close(found.pooled[r, a], pooled)
        torch.testing.assert_close(found.own[r, a], embeddings[a])


def loss_of(encoded: EncodedSet, queries: list[Tensor]) -> Tensor:
    """A number that depends on all that comes out, with two pointers at the same set."""
    assert encoded.own is not None
    total = (encoded.pooled * torch.arange(1, 6)).square().sum() + (encoded.own.square() * 0.3).sum()
    for query in queries:
        total = total + pointed(encoded.keys, query).square().sum()
    return total


def test_gradients_of_every_weight_and_query_are_those_of_the_slow_twin(path: str) -> None:
    encoder, (x, there, agent) = encoder_of(), units_of()
    queries = [torch.randn(6, 2, 5, requires_grad=True) for _ in range(2)]
    wanted = [*encoder.parameters(), *queries]
    rows = []
    for r in range(6):
        both = [slow(encoder, x[r, 0], there[r, 0], agent[r, a], a) for a in range(2)]
        rows.append((torch.stack([e for e, _ in both]), torch.stack([p for _, p in both])))
    embedding, pooled = torch.stack([e for e, _ in rows]), torch.stack([p for _, p in rows])
    own = torch.stack([embedding[:, a, a] for a in range(2)], dim=1)
    expected = torch.autograd.grad(loss_of(EncodedSet(SlotKeys(embedding), pooled, own), queries), wanted)
    found = torch.autograd.grad(loss_of(encoder(x, there, agent), queries), wanted)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert one.any()


def test_a_graph_that_is_gone_through_twice_gives_the_same_gradients_both_times() -> None:
    encoder, (x, there, agent) = encoder_of(), units_of()
    queries = [torch.randn(6, 2, 5, requires_grad=True) for _ in range(2)]
    loss = loss_of(encoder(x, there, agent), queries)
    torch.autograd.grad(loss, [queries[0]], retain_graph=True)  # stops at the query: the set's part is not gone through
    parameters = list(encoder.parameters())
    first, again = (torch.autograd.grad(loss, parameters, retain_graph=True) for _ in range(2))
    expected = torch.autograd.grad(loss_of(encoder(x, there, agent), queries), parameters)
    for one, other, fresh in zip(first, again, expected, strict=True):
        torch.testing.assert_close(one, fresh)
        torch.testing.assert_close(other, fresh)


def test_a_set_without_a_relation_is_the_maximum_over_the_slots_that_are_there(path: str) -> None:
    encoder = encoder_of(name="items")
    x, there = torch.randn(6, 2, 2, 2), torch.rand(6, 2, 2) < 0.5
    there[0] = False
    found = encoder(x, there)
    assert found.own is None
    for r, a in np.ndindex(6, 2):
        slots = torch.relu(encoder.second(torch.relu(encoder.first(encoder.normalizer(x[r, a])))))
        embeddings = torch.where(there[r, a, :, None], slots, 0.0)
        torch.testing.assert_close(found.keys.embedding[r, a], embeddings)
        torch.testing.assert_close(found.pooled[r, a], embeddings.max(dim=0).values)


def test_gradients_without_a_relation_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of(replace(SPEC, relations={}))
    (x, there, _), query = units_of(), torch.randn(6, 2, 5, requires_grad=True)
    wanted = [*encoder.parameters(), query]
    found = torch.autograd.grad(loss_of(encoder(x, there), [query]), wanted)
    monkeypatch.setattr(entity_sets, "compilable", lambda *_: False)
    expected = torch.autograd.grad(loss_of(encoder(x, there), [query]), wanted)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("relations", [True, False])
def test_a_set_that_the_team_shares_equals_the_same_set_given_to_every_agent(relations: bool, path: str) -> None:
    shared = targeting(relations=relations)
    each = replace(shared, team_shared=shared.team_shared - {"units", "units_mask"})
    one, other = make_policy(shared), make_policy(each)
    other.load_state_dict(one.state_dict())
    rows = random_rows(shared, 8)
    copies = {n: rows.observation[n].unsqueeze(2).repeat_interleave(2, dim=2) for n in ("units", "units_mask")}
    repeated = Rows(
        observation=rows.observation | copies,
        first=rows.first,
        previous_action=rows.previous_action,
        state=rows.state,
    )
    act = {"act": torch.full((7, 3, 2), 3), "target": torch.full((7, 3, 2), 2), "offset.x": torch.zeros(7, 3, 2)}
    a, b = rows.unroll(one), repeated.unroll(other)
    torch.testing.assert_close(a.hidden, b.hidden)
    log_probs = [p.evaluate(u, r.observation, act).log_prob for p, u, r in ((one, a, rows), (other, b, repeated))]
    for head in act:
        torch.testing.assert_close(log_probs[0][head], log_probs[1][head])


def test_the_order_of_the_slots_moves_embeddings_along_and_leaves_the_maximum(path: str) -> None:
    encoder, (x, there, agent) = encoder_of(), units_of()
    order = torch.tensor([2, 0, 1])
    one, other = encoder(x, there, agent), encoder(x[:, :, order], there[:, :, order], agent)
    torch.testing.assert_close(one.pooled, other.pooled)
    torch.testing.assert_close(one.keys.embedding[:, :, order], other.keys.embedding)


def test_what_stands_in_absent_slots_changes_nothing_not_even_the_statistics(path: str) -> None:
    one, other, (x, there, agent) = encoder_of(), encoder_of(), units_of()
    garbage = torch.where(there.unsqueeze(-1), x, torch.full_like(x, 1e20))
    assert torch.equal(one(x, there, agent).pooled, other(garbage, there, agent).pooled)
    assert torch.equal(one(x, there, agent).keys.embedding, other(garbage, there, agent).keys.embedding)
    one.update_statistics(x.squeeze(1), there.squeeze(1))
    other.update_statistics(garbage.squeeze(1), there.squeeze(1))
    assert torch.equal(one.normalizer.variance, other.normalizer.variance)
    assert float(one.normalizer.count) == 100 + int(there.sum())


def test_an_empty_set_gives_zeros_and_no_gradient(path: str) -> None:
    encoder, (x, there, agent) = encoder_of(), units_of()
    found = encoder(x, torch.zeros_like(there), agent)
    assert not found.pooled.any()
    assert not found.keys.embedding.any()
    found.pooled.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in encoder.parameters())


def test_categories_are_not_normalised_and_only_numbers_have_statistics() -> None:
    encoder = encoder_of()
    assert encoder.normalizer.mean.shape == (4,)
    assert encoder.categories is not None
    assert encoder.categories.shape == (5, 5)


def test_a_category_that_is_out_of_range_does_not_reach_into_its_neighbours(path: str) -> None:
    encoder, (x, there, agent) = encoder_of(), units_of()
    wild, bounded = x.clone(), x.clone()
    wild[..., 0], bounded[..., 0] = 100.0, 2.0
    torch.testing.assert_close(encoder(wild, there, agent).pooled, encoder(bounded, there, agent).pooled)


def test_positions_in_half_precision_are_compared_in_single(path: str) -> None:
    encoder, (x, there, agent) = encoder_of(), units_of()
    halves = x.half()
    torch.testing.assert_close(encoder(halves, there, agent).pooled, encoder(halves.float(), there, agent).pooled)


def test_far_away_is_clipped(path: str) -> None:
    encoder, (x, there, agent) = encoder_of(), units_of()
    near, far = (encoder(x, there, agent + shift).pooled for shift in (1e4, 1e6))
    torch.testing.assert_close(near, far)


def test_not_a_number_is_not_hidden_by_the_maximum(path: str) -> None:
    encoder, (x, there, agent) = encoder_of(), units_of()
    x[3, 0, 0, 3] = float("nan")
    there[3] = True
    found = encoder(x, there, agent)
    assert bool(found.pooled[3].isnan().any())
    assert not found.pooled[[0, 1, 2, 4, 5]].isnan().any()


def test_without_numba_the_operators_take_over_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "quintet.model.kernels.entity_rows", None)
    monkeypatch.delattr("quintet.model.kernels.entity_rows", raising=False)
    entity_embedding.kernels.cache_clear()
    try:
        encoder, (x, there, agent) = encoder_of(), units_of()
        assert not encoder(x, there, agent).keys.compiled
        assert len(caplog.records) == 1
        assert "without compiled kernels" in caplog.text
    finally:
        entity_embedding.kernels.cache_clear()
