"""`check_spec`: what a `GameSpec` alone can get wrong, before anything is played."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
from gymnasium import spaces

from quintet.games.api import (
    ACTING,
    ACTION_MASK_PREFIX,
    PRESENT,
    EntryUse,
    GameContractError,
    GameSpec,
    Target,
    entry_kind,
)
from quintet.games.masks import choices

EXACT_IN_FLOAT16 = 2048  # the largest number up to which float16 holds every whole number


def check_spec(spec: GameSpec) -> None:
    """Compare the parts of a spec with one another.

    Raises:
        GameContractError: the first two that do not go together, in one line.
        UnsupportedSpaceError: an entry that no encoder serves.
    """
    entries, heads = spec.observation_space.spaces, spec.action_space.spaces
    if spec.teams < 1 or spec.agents_per_team < 1 or not entries or not heads:
        raise GameContractError(f"{spec.name}: a game needs a team, an agent, an observation entry and an action head")
    for name in entries:
        entry_kind(spec, name)
        if name in (ACTING, PRESENT) or name.startswith(ACTION_MASK_PREFIX):
            raise GameContractError(f"{spec.name}: observation entry {name!r} has a reserved name")
    for head, space in heads.items():
        _check_head(spec, head, space)
    _check_names(spec)
    _check_primary(spec)
    for name in spec.set_categories:
        _check_categories(spec, name)
    for name in spec.relations:
        _check_relation(spec, name)
    for name, slots in spec.own_slots.items():
        n = _set_shape(spec, name, "own_slots")[0]
        if len(slots) != spec.agents_per_team or len(set(slots)) != len(slots) or not set(slots) <= set(range(n)):
            raise GameContractError(
                f"{spec.name}: own_slots of {name!r} is {slots}; expected {spec.agents_per_team} different slots from "
                f"0 to {n - 1}, one per agent"
            )
    for name in spec.auxiliary:
        _check_auxiliary(spec, name)


def _check_head(spec: GameSpec, head: str, space: spaces.Space[Any]) -> None:
    discrete = isinstance(space, spaces.Discrete) and int(space.start) == 0
    box = isinstance(space, spaces.Box) and space.dtype == np.float32 and len(space.shape) == 1
    if not discrete and not box:
        raise GameContractError(
            f"{spec.name}: head {head!r} is {space}; expected Discrete from 0 or a one-dimensional float32 Box"
        )
    if isinstance(space, Target):
        n = _set_shape(spec, space.group, f"head {head!r}")[0]
        if n != int(space.n):
            raise GameContractError(
                f"{spec.name}: head {head!r} points at {int(space.n)} slots of {space.group!r}, which has {n}"
            )


def _check_names(spec: GameSpec) -> None:
    entries, heads = set(spec.observation_space.spaces), set(spec.action_space.spaces)
    others = heads - {spec.primary_head}
    named: tuple[tuple[str, Iterable[str], set[str]], ...] = (
        ("masked_heads", spec.masked_heads, {head for head in heads if choices(spec, head)}),
        ("team_shared", spec.team_shared, entries),
        ("uses", spec.uses, entries),
        ("the values of uses", spec.uses.values(), set(get_args(EntryUse))),
        ("wire_dtypes", spec.wire_dtypes, entries),
        ("reads", frozenset().union(*spec.reads), others),
        ("masked_by_primary", spec.masked_by_primary, set(spec.masked_heads) & others),
    )
    for what, found, known in named:
        if not set(found) <= known:
            unknown = sorted(set(found) - known)
            raise GameContractError(f"{spec.name}: {what} names {unknown}; known are {sorted(known)}")
    if spec.team_names and len(spec.team_names) != spec.teams:
        raise GameContractError(f"{spec.name}: {len(spec.team_names)} team_names for {spec.teams} teams")


def _check_primary(spec: GameSpec) -> None:
    head = spec.primary_head
    if head is None:
        if spec.reads or spec.masked_by_primary:
            raise GameContractError(f"{spec.name}: reads and masked_by_primary need a primary_head")
        return
    if head not in spec.action_space.spaces or not choices(spec, head):
        raise GameContractError(f"{spec.name}: primary_head is {head!r}; expected the name of a Discrete head")
    if spec.reads and len(spec.reads) != choices(spec, head):
        raise GameContractError(
            f"{spec.name}: reads has {len(spec.reads)} entries; head {head!r} has {choices(spec, head)} actions"
        )


def _set_shape(spec: GameSpec, name: str, what: str) -> tuple[int, int]:
    """(slots, columns) of an entity set."""
    if name not in spec.observation_space.spaces or entry_kind(spec, name) != "entity_set":
        raise GameContractError(
            f"{spec.name}: {what} names {name!r}; expected an entity set: a Box of two axes with {name}_mask beside it"
        )
    slots, columns = spec.observation_space[name].shape or (0, 0)
    return slots, columns


def _check_columns(spec: GameSpec, what: str, columns: Iterable[int], width: int) -> None:
    wrong = [column for column in columns if not 0 <= column < width]
    if wrong:
        raise GameContractError(f"{spec.name}: {what} names columns {wrong}; there are 0 to {width - 1}")


def _check_categories(spec: GameSpec, name: str) -> None:
    width = _set_shape(spec, name, "set_categories")[1]
    categories = spec.set_categories[name]
    _check_columns(spec, f"set_categories of {name!r}", categories, width)
    largest = EXACT_IN_FLOAT16 + 1 if spec.wire_dtypes.get(name) == "float16" else 2**24
    for column, n in categories.items():
        if not 1 <= n <= largest:
            raise GameContractError(
                f"{spec.name}: column {column} of {name!r} has {n} categories; expected 1 to {largest}, which is what "
                f"{spec.wire_dtypes.get(name, 'float32')} holds exactly"
            )


def _check_relation(spec: GameSpec, name: str) -> None:
    relation, width = spec.relations[name], _set_shape(spec, name, "relations")[1]
    agent = spec.observation_space.spaces.get(relation.agent_entry)
    if not isinstance(agent, spaces.Box) or len(agent.shape) != 1 or relation.agent_entry in spec.team_shared:
        raise GameContractError(
            f"{spec.name}: the relation of {name!r} names {relation.agent_entry!r}; expected a vector entry (a Box of "
            "one axis) with an agents axis"
        )
    _check_columns(spec, f"the relation of {name!r}", relation.set_columns, width)
    _check_columns(
        spec, f"the relation of {name!r} to {relation.agent_entry!r}", relation.agent_columns, agent.shape[0]
    )
    if not relation.set_columns or len(relation.set_columns) != len(relation.agent_columns) or relation.scale <= 0:
        raise GameContractError(
            f"{spec.name}: the relation of {name!r} has columns {relation.set_columns} and {relation.agent_columns} "
            f"and scale {relation.scale}; expected as many of both and a positive scale"
        )


def _check_auxiliary(spec: GameSpec, name: str) -> None:
    auxiliary = spec.auxiliary[name]
    label = spec.observation_space.spaces.get(auxiliary.label)
    if not isinstance(label, spaces.Box) or len(label.shape) != 1 or spec.uses.get(auxiliary.label) != "label":
        raise GameContractError(
            f"{spec.name}: auxiliary {name!r} has the label {auxiliary.label!r}; expected a Box of one axis whose "
            "use is label"
        )
    if auxiliary.kind not in ("binary", "categorical"):
        raise GameContractError(
            f"{spec.name}: auxiliary {name!r} has the kind {auxiliary.kind!r}; expected binary or categorical"
        )
    if not 0 < auxiliary.discount <= 1 or auxiliary.trunk_gradient < 0:
        raise GameContractError(
            f"{spec.name}: auxiliary {name!r} has discount {auxiliary.discount} and trunk_gradient "
            f"{auxiliary.trunk_gradient}; expected a discount above 0 and at most 1 and a gradient of at least 0"
        )
