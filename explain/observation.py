"""One observation taken apart: which slots won the maximum of every entity set, what the pointers point at, and how
the plain numbers are normalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from quintet.explain.labels import agents_row, choice_name, is_skirmish, number_name, slot_name
from quintet.explain.subject import Record, Subject, play_record
from quintet.games.api import Target, entry_kind
from quintet.games.skirmish.observation.spec import UNIT
from quintet.model.distributions import MaskedCategorical
from quintet.model.encoders import VectorEncoder
from quintet.model.entity_sets import EntitySetEncoder
from quintet.model.normalizer import INPUT_CLIP
from quintet.model.policy import Unrolled

GAMES = 8
ROWS = 320


@dataclass(frozen=True, kw_only=True, slots=True)
class Winner:
    """One slot of an entity set that is there."""

    slot: int
    name: str
    features: int  # of the pooled ones that are this slot's
    place: tuple[float, float] | None = None  # on the map, where the game has one
    side: int = 0  # 1 own, -1 enemy


@dataclass(frozen=True, kw_only=True, slots=True)
class PooledSet:
    """An entity set of one observation; the winners' features and `silent` add up to `width`."""

    name: str
    slots: int
    width: int  # pooled features
    silent: int  # features that no slot excites: the maximum is 0
    winners: tuple[Winner, ...]  # every slot that is there, most features first


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """One head's probabilities for this observation, likeliest first; of a pointer also the slot of each."""

    head: str
    given: str  # the primary action it was asked for; empty: none
    options: tuple[tuple[str, float, int], ...]  # words, probability, choice


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """One plain number of the observation, as it comes and as the network gets it."""

    name: str
    raw: float
    mean: float
    std: float
    normalized: float  # clipped to +-INPUT_CLIP


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservationReport:
    """One agent's row: what it saw, what of that passed the maximum, what it made of it."""

    subject: Subject
    row: int  # of its game
    sets: tuple[PooledSet, ...]
    choices: tuple[Choices, ...]
    numbers: tuple[Number, ...]  # those farthest from their mean
    total_numbers: int
    value: float
    auxiliary: dict[str, tuple[float, ...]]


def explain_observation(subject: Subject, *, games: int = GAMES, rows: int = ROWS, seed: int = 7) -> ObservationReport:
    """Play, and take the fullest of the observations of the last window apart."""
    record = play_record(subject, games=games, rows=rows, seed=seed)
    row, team = _fullest(subject, record)
    return observation_report(subject, record, row, team)


@torch.no_grad()
def observation_report(subject: Subject, record: Record, row: int, team: int) -> ObservationReport:
    """Row `row` of the first agent of stream `team`."""
    batch, policy = record.batch, subject.policy
    upto = slice(0, row + 1)
    observation = {name: x[upto, team : team + 1] for name, x in batch.observation.items()}
    previous = {name: x[upto, team : team + 1] for name, x in batch.action.items()}
    state = batch.lstm_state[0, team : team + 1].to(torch.float32)
    unrolled = policy.unroll(observation, batch.first[upto, team : team + 1], previous, state)
    seen = agents_row(subject, batch.observation, row, team, 0)
    begins = torch.nonzero(batch.first[: row + 1, team]).flatten()
    return ObservationReport(
        subject=subject,
        row=row - int(begins[-1]) if len(begins) else row,
        sets=tuple(pooled_sets(subject, {n: x[-1:] for n, x in observation.items()}, seen)),
        choices=tuple(_choices(subject, unrolled, observation, seen)),
        numbers=tuple(_numbers(subject, seen)[:12]),
        total_numbers=_size(subject),
        value=float(policy.returns.denormalize(unrolled.value[-1, 0, 0])),
        auxiliary={
            name: tuple(float(p) for p in x[-1, 0, 0])
            for name, x in policy.auxiliary.probabilities(unrolled.auxiliary).items()
        },
    )


def pooled_sets(subject: Subject, observation: dict[str, Tensor], seen: dict[str, Tensor]) -> list[PooledSet]:
    """Who won the maximum of every entity set for the first agent of one row [1, 1, A, ...].

    A feature of several slots with the same maximum counts for the first of them.
    """
    found = []
    agents = subject.spec.agents_per_team
    first = subject.policy.encoders(observation, (1, 1, agents))[1]
    for name, encoder in subject.policy.encoders.items():
        if not isinstance(encoder, EntitySetEncoder):
            continue
        embedding = first[name].embedding[0, 0]  # [N, S], of the first agent; 0 where a slot is empty
        highest, winner = embedding.max(dim=0)
        counts = torch.bincount(winner[highest > 0], minlength=len(embedding))
        there = seen[f"{name}_mask"].to(torch.bool)
        winners = [
            _winner(subject, name, slot, int(counts[slot]), seen[name][slot])
            for slot in range(len(embedding))
            if bool(there[slot])
        ]
        winners.sort(key=lambda w: -w.features)
        silent = int((highest <= 0).sum())
        found.append(
            PooledSet(name=name, slots=len(embedding), width=len(highest), silent=silent, winners=tuple(winners))
        )
    return found


def _winner(subject: Subject, group: str, slot: int, features: int, numbers: Tensor) -> Winner:
    name = slot_name(subject, group, slot, numbers)
    if group != "units" or not is_skirmish(subject):
        return Winner(slot=slot, name=name, features=features)
    column = {name: k for k, name in enumerate(UNIT.names or ())}
    place = (float(numbers[column["x"]]), float(numbers[column["y"]]))
    return Winner(slot=slot, name=name, features=features, place=place, side=int(numbers[column["side"]]))


def _choices(
    subject: Subject, unrolled: Unrolled, observation: dict[str, Tensor], seen: dict[str, Tensor]
) -> list[Choices]:
    """The primary head, every pointer given the likeliest action that reads it, or else every Discrete head."""
    spec, heads = subject.spec, subject.policy.heads
    found: list[Choices] = []

    def ask(head: str, chosen: int | None) -> Choices | None:
        given = None if chosen is None else torch.full(unrolled.hidden.shape[:-1], chosen)
        distribution = heads.distribution(head, unrolled.queries, unrolled.keys, observation, given)
        if not isinstance(distribution, MaskedCategorical):
            return None
        probabilities = distribution.log_probs[-1, 0, 0].exp()
        best = probabilities.topk(min(8, len(probabilities)))
        options = tuple(
            (choice_name(subject, head, int(k), seen), float(p), int(k))
            for p, k in zip(best.values, best.indices, strict=True)
            if float(p) >= 0.0005
        )
        words = "" if chosen is None or spec.primary_head is None else choice_name(subject, spec.primary_head, chosen)
        return Choices(head=head, given=words, options=options)

    if spec.primary_head is None:
        return [said for head in spec.action_space if (said := ask(head, None)) is not None]
    primary = ask(spec.primary_head, None)
    assert primary is not None
    found.append(primary)
    for head, space in spec.action_space.spaces.items():
        if isinstance(space, Target):
            readers = [k for _, _, k in primary.options if head in spec.reads[k]]
            asked = ask(head, readers[0]) if readers else None
            found += [asked] if asked is not None else []
    return found


def _numbers(subject: Subject, seen: dict[str, Tensor]) -> list[Number]:
    """Every plain float, those farthest from their mean first."""
    found = []
    for name, encoder in subject.policy.encoders.items():
        if not isinstance(encoder, VectorEncoder):
            continue
        raw = seen[name].flatten().to(torch.float32)
        normalized, normalizer = encoder.normalizer(raw), encoder.normalizer
        for k in range(len(raw)):
            number = Number(
                name=number_name(subject, name, k),
                raw=float(raw[k]),
                mean=float(normalizer.mean[k]),
                std=float(normalizer.variance[k].sqrt()),
                normalized=float(normalized[k]),
            )
            assert abs(number.normalized) <= INPUT_CLIP
            found.append(number)
    return sorted(found, key=lambda number: -abs(number.normalized))


def _fullest(subject: Subject, record: Record) -> tuple[int, int]:
    """Among the last window's rows in which the first agent acts, the one with most slots filled."""
    batch = record.batch
    bptt = subject.config.rollout.bptt_steps
    acts = (batch.valid & batch.acting)[-bptt:, :, 0]
    filled = torch.zeros(acts.shape)
    for name in subject.policy.entries:
        if entry_kind(subject.spec, name) == "entity_set":
            mask = batch.observation[f"{name}_mask"][-bptt:].to(torch.float32)
            mask = mask if name in subject.spec.team_shared else mask[:, :, 0]
            filled += mask.sum(dim=-1)
    best = int((filled + 1e-3 + 1e3 * acts).argmax())
    row, team = divmod(best, acts.shape[1])
    return len(batch.first) - bptt + row, team


def _size(subject: Subject) -> int:
    """How many numbers one agent's observation has, masks and labels left out."""
    names = subject.policy.entries
    shapes = [subject.spec.observation_space[name].shape or (1,) for name in names]
    return sum(int(torch.Size(shape).numel()) for shape in shapes)
