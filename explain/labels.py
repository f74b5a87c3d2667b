"""What slots, choices and numbers are called, for people: in the words of the game where it has words."""

from __future__ import annotations

from functools import lru_cache

import torch
from gymnasium import spaces
from torch import Tensor

from quintet.explain.subject import Subject
from quintet.games.api import Target
from quintet.games.skirmish.observation.spec import GLOBAL, SELF, UNIT
from quintet.games.skirmish.rules import (
    ABILITIES,
    HEROES,
    ITEMS,
    MODIFIER_NAMES,
    OFFSETS,
    PRIMARY_NAMES,
    RUNE_NAMES,
    UNIT_NAMES,
)

KINDS: dict[str, tuple[str, ...]] = {  # entity set of skirmish -> what its first column counts
    "units": (*UNIT_NAMES, *(hero.name for hero in HEROES)),
    "allies": tuple(hero.name for hero in HEROES),
    "abilities": tuple(ability.name for ability in ABILITIES),
    "items": tuple(item.name for item in ITEMS),
    "modifiers": MODIFIER_NAMES,
    "pickups": RUNE_NAMES,
}
SIDES = {1: "own", -1: "enemy", 0: ""}


def is_skirmish(subject: Subject) -> bool:
    """Whether the built-in game is played."""
    return subject.config.game.startswith("skirmish-")


def slot_name(subject: Subject, group: str, slot: int, numbers: Tensor) -> str:
    """A slot of an entity set [F] in words: "enemy tower", else "units 6"."""
    if not is_skirmish(subject) or group not in KINDS:
        return f"{group} {slot}"
    kind = KINDS[group][int(numbers[0])]
    if group != "units":
        return kind
    column = {name: k for k, name in enumerate(UNIT.names or ())}
    unseen = int(numbers[column["side"]]) < 0 and float(numbers[column["visible"]]) < 0.5
    name = f"{SIDES[int(numbers[column['side']])]} {kind}".strip()
    return f"{name}, as last seen" if unseen and int(numbers[0]) >= len(UNIT_NAMES) else name


def number_name(subject: Subject, entry: str, index: int) -> str:
    """A plain number of the observation: "hero in_base", else "observation[3]"."""
    columns = {"hero": SELF, "globals": GLOBAL}.get(entry) if is_skirmish(subject) else None
    if columns is None:
        return f"{entry}[{index}]"
    names = [name for name in columns.names or () for _ in range(columns[name].itemsize // 4)]
    return f"{entry}: {names[index].replace('_', ' ')}"


@lru_cache(maxsize=64)
def choices(game: str) -> dict[str, tuple[str, ...]]:
    """Head -> what its choices are called; heads without words are missing."""
    if game.startswith("skirmish-"):
        offsets = tuple(f"{k - OFFSETS // 2:+d}" for k in range(OFFSETS))
        primary = (*PRIMARY_NAMES, *(ability.name for ability in ABILITIES))
        return {"primary": primary, "item": KINDS["items"], "x": offsets, "y": offsets}
    return {"action": ("push left", "push right")} if game == "gymnasium:CartPole-v1" else {}


def choice_name(subject: Subject, head: str, choice: int, observation: dict[str, Tensor] | None = None) -> str:
    """A choice in words where the game has some, else head and number.

    Args:
        subject: whose game.
        head: of the action.
        choice: which.
        observation: one agent's row, for the names of the slots that it may point at.
    """
    space = subject.spec.action_space[head]
    if isinstance(space, Target) and observation is not None:
        return slot_name(subject, space.group, choice, observation[space.group][choice])
    names = choices(subject.config.game).get(head, ())
    return names[choice] if choice < len(names) else f"{head} {choice}"


def action_words(subject: Subject, action: dict[str, Tensor], observation: dict[str, Tensor]) -> str:
    """What one agent did in one row, by the heads that were read.

    Args:
        subject: whose game.
        action: per head [] or [dims].
        observation: of that agent, per entry without leading axes.
    """
    said = []
    for name in sorted(action, key=lambda name: name != subject.spec.primary_head):
        number, space = action[name], subject.spec.action_space[name]
        if isinstance(space, spaces.Box):
            said.append(" ".join(f"{float(x):.2f}" for x in number[:3]))
        elif int(number) >= 0:
            said.append(choice_name(subject, name, int(number), observation))
    return " ".join(said) or "none"


def agents_row(subject: Subject, observation: dict[str, Tensor], row: int, team: int, agent: int) -> dict[str, Tensor]:
    """One agent's observation of one row out of [T, B, A, ...] (team-shared: [T, B, ...])."""
    return {
        name: x[row, team] if name in subject.spec.team_shared else x[row, team, agent]
        for name, x in observation.items()
        if isinstance(x, torch.Tensor)
    }
