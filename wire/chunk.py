"""The border types: `TrajectoryChunk` and the `ChunkSpec` that its arrays are checked against.

Rows, with T rows in a chunk, A agents in a team, H LSTM units, W = T / bptt_steps windows:

    row t = (observation, first, value)[t]  and  (action, reward, terminated, truncated)[t]

`action[0]` is the action *before* the first row and `action[t + 1]` the action taken at row t; `value[T]` bootstraps
the last row, and so does `auxiliary` for labels. A head that was not read holds no action and log-probability 0.
When row t ends a game, row t+1 holds the true last observation: it is evaluated with the running state
(`first` false), its action is ignored, its reward is 0 and `valid` is false; row t+2 is the new game, `first` true.
An agent with an end of its own while its game goes on is the same for itself alone: `terminated` or `truncated` at row
t, not valid at row t+1, which holds its last observation, nor later unless it returns; nor is it before it first comes.
Its LSTM state runs on meanwhile, as everybody's: `first` is of the whole stream.

Worked example, T = 4, one agent, a game that ends at row 1 and a new one that begins at row 3:

    t            0      1      2      3      (4)
    observation  o0     o1     last   o0'
    first        F      F      F      T
    action[t+1]  a0     a1     none   a0'
    reward       r0     r1     0      r0'
    terminated   F      T      F      F
    valid        T      T      F      T
    value        v0     v1     v2     v0'    v1'
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from quintet.games.api import ACTION_MASK_PREFIX, GameSpec
from quintet.wire.meaning import meaning_of

Array = np.ndarray[Any, np.dtype[Any]]

WIRE_VERSION = 3
MIRROR = -1  # opponent_version of a game that the latest version plays against itself
NO_ACTION = -1  # a Discrete action that was not taken: before a reset's first row, where not acting, unread heads


@dataclass(frozen=True, kw_only=True, slots=True)
class ArraySpec:
    """One array of a chunk, without its time axis."""

    shape: tuple[int, ...]  # after [T], or after [T, A] where `per_agent`
    dtype: str  # numpy name; "bool" arrays travel as packed bits
    per_agent: bool = True
    choices: tuple[int, ...] = ()  # categorical: how many values each number may have (one for all, or one per column)
    categories: tuple[tuple[int, int], ...] = ()  # of a float array: (column of the last axis, values from 0 in it)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkSpec:
    """Shapes and dtypes of every chunk of a run; both ends derive it from the game and the configuration."""

    game: str
    teams: int
    agents: int
    lstm_units: int
    bptt_steps: int
    chunk_steps: int  # the most rows that a chunk may have; always a multiple of bptt_steps
    observation: dict[str, ArraySpec]  # entries and action masks; `acting` is a field of the chunk
    heads: dict[str, ArraySpec]
    auxiliary: dict[str, ArraySpec] = field(default_factory=dict)  # predictions of the row after the last
    meaning: dict[str, Any] = field(default_factory=dict)  # plain data: `quintet.wire.meaning.meaning_of`

    @property
    def text(self) -> str:
        """All of it as JSON, with the version of the wire: what the hash is of."""
        return json.dumps({"wire_version": WIRE_VERSION, **asdict(self)}, sort_keys=True)

    @property
    def hash(self) -> str:
        """16 hex digits that change where chunks or weights of one side would not fit the other, or mean another thing.

        So it covers whatever gives numbers a meaning: shapes, dtypes, categories, bounds of Box heads and of images,
        what each primary action reads, what pointers point at, relations, own slots, uses.
        """
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def chunk_spec(game: GameSpec, *, lstm_units: int, bptt_steps: int, chunk_steps: int) -> ChunkSpec:
    """Derive the chunk's arrays from a game's spaces.

    Floats travel as f32 unless the game declares f16; uint8 images stay uint8; MultiBinary entries and action masks are
    bool (a mask by primary action is [n_primary, n]); categoricals are i16 or i32 by their size.
    """
    observation: dict[str, ArraySpec] = {}
    for name, space in game.observation_space.spaces.items():
        per_agent = name not in game.team_shared
        observation[name] = ArraySpec(
            shape=tuple(space.shape or ()),
            dtype=_wire_dtype(space, game.wire_dtypes.get(name)),
            per_agent=per_agent,
            choices=_choices(space),
            categories=tuple(sorted(game.set_categories.get(name, {}).items())),
        )
    heads: dict[str, ArraySpec] = {}
    for name, space in game.action_space.spaces.items():
        heads[name] = ArraySpec(shape=tuple(space.shape or ()), dtype=_wire_dtype(space, None), choices=_choices(space))
        if name in game.masked_heads and isinstance(space, spaces.Discrete):
            rows = (_primary_actions(game),) if name in game.masked_by_primary else ()
            observation[f"{ACTION_MASK_PREFIX}{name}"] = ArraySpec(shape=(*rows, int(space.n)), dtype="bool")
    return ChunkSpec(
        game=game.name,
        teams=game.teams,
        agents=game.agents_per_team,
        lstm_units=lstm_units,
        bptt_steps=bptt_steps,
        chunk_steps=chunk_steps,
        observation=observation,
        heads=heads,
        auxiliary={
            name: ArraySpec(shape=tuple(game.observation_space[a.label].shape or ()), dtype="float32")
            for name, a in game.auxiliary.items()
        },
        meaning=meaning_of(game),
    )


def _primary_actions(game: GameSpec) -> int:
    """Actions of the primary head."""
    space = game.action_space[game.primary_head] if game.primary_head is not None else None
    if not isinstance(space, spaces.Discrete):
        raise ValueError(f"{game.name}: masked_by_primary needs a Discrete primary_head, found {game.primary_head!r}")
    return int(space.n)


def _wire_dtype(space: spaces.Space[Any], declared: Literal["float16", "float32"] | None) -> str:
    if isinstance(space, spaces.MultiBinary):
        return "bool"
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        largest = int(np.max(space.n if isinstance(space, spaces.Discrete) else space.nvec))
        return "int16" if largest < 2**15 else "int32"
    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3:
        return "uint8"
    return declared or "float32"


def _choices(space: spaces.Space[Any]) -> tuple[int, ...]:
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    return tuple(int(n) for n in space.nvec.reshape(-1)) if isinstance(space, spaces.MultiDiscrete) else ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrajectoryChunk:
    """T rows of one learning team in one slot, over as many games as fall in it: all that training needs."""

    run: str
    spec_hash: str
    worker: int  # u32, issued at registration
    incarnation: int  # u32, issued at registration; a restarted worker gets a new one
    sequence: int  # u64, 1 for the first chunk of this incarnation, then without gaps
    cumulative_steps: int  # u64, rows x agents of all chunks of this incarnation, this one included
    slot: int
    team: int
    observation: dict[str, Array]  # [T, A, ...] or, team-shared, [T, ...]
    first: Array  # [T] bool: the LSTM state is zeroed before this row
    action: dict[str, Array]  # per head [T + 1, A, ...]
    log_prob: dict[str, Array]  # per head [T, A] f32, of the action taken, by the behaviour policy
    value: Array  # [T + 1, A] f32, in reward units, by the behaviour policy
    reward: Array  # [T, A] f32, before team spirit
    terminated: Array  # [T, A] bool
    truncated: Array  # [T, A] bool
    acting: Array  # [T, A] bool
    valid: Array  # [T, A] bool: the transition is real
    opponent_version: Array  # [T] i32
    auxiliary: dict[str, Array]  # name -> [A, k] f32: row T's label, or its prediction where the label is unknown
    lstm_state: Array  # [W, A, 2, H] f16: (hidden, cell) before the first row of each window
    version: Array  # [W] u32: the version that played each window

    @property
    def rows(self) -> int:
        """T."""
        return int(self.first.shape[0])

    @property
    def steps(self) -> int:
        """Rows x agents, masked or not: the unit of every counter."""
        return int(self.valid.size)
