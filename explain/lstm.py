"""What an LSTM keeps: its gates over a real game, how long each unit remembers, and what can be read out of its memory.

What the memory knows is measured by a linear read-out: a ridge regression from the LSTM's state to something that the
game hid from the policy, fitted on some games and judged on others. Beside it stands the same regression from what the
LSTM is given in that very row, which is what a network without memory could know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quintet.explain.subject import Record, Subject, play_record
from quintet.games.api import Array, entry_kind
from quintet.model.lstm import LSTM

GAMES = 32
ROWS = 400
BEFORE, AFTER = 16, 24  # rows around the moment when something leaves sight
FEWEST_DEPARTURES = 5
RECALLED_ROWS = 8  # how far back the read-out looks in games that hide nothing known
RIDGE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOut:
    """How well something hidden can be read out of the memory; shares of its variance, in games not fitted on."""

    name: str
    from_memory: float
    from_row: float  # from what the LSTM is given in the row itself
    truth: Array  # [T] of one game that was not fitted on, NaN where it does not count
    memory_says: Array  # [T]
    row_says: Array  # [T]


@dataclass(frozen=True, kw_only=True, slots=True)
class Departures:
    """Cells around the moments when the enemy left sight, mean over all of them."""

    count: int
    units: Array  # [k] which units
    mean: Array  # [BEFORE + AFTER, k]; row BEFORE is the first without it
    error: Array  # [BEFORE + AFTER, k], standard error of the mean


@dataclass(frozen=True, kw_only=True, slots=True)
class LstmReport:
    """Everything that the picture shows; the game shown is stream `stream` of the record."""

    subject: Subject
    half_life_steps: Array  # [H], from the geometric mean of each unit's forget gate over all rows
    order: Array  # [H], units by half-life, the shortest first
    hidden: Array  # [T, H] of the game shown
    gates: dict[str, Array]  # "input", "forget", "output", "cell" -> [T, H] of the game shown
    first: Array  # [T] bool of the game shown
    out_of_sight: Array | None  # [T] bool of the game shown
    shown_units: Array  # [k], drawn in detail: of short, middle and long memory
    read_outs: tuple[ReadOut, ...]
    departures: Departures | None


def explain_lstm(subject: Subject, *, games: int = GAMES, rows: int = ROWS, seed: int = 7) -> LstmReport:
    """Play, and look inside. The first agent of every team is looked at."""
    record = play_record(subject, games=games, rows=rows, seed=seed)
    trace, given = look_inside(subject, record)
    half_life = half_lives(trace["forget"].numpy())
    order = np.argsort(half_life)
    shown = order[[len(order) // 4, len(order) * 3 // 4, len(order) - 1]]
    memory = torch.cat((trace["hidden"], trace["cell"]), dim=-1).numpy()
    stream = record.batch.first.shape[1] - 1  # of a game that no read-out is fitted on
    gates = {name: trace[name][:, stream].numpy() for name in ("input", "forget", "output", "cell")}
    away = record.out_of_sight
    return LstmReport(
        subject=subject,
        half_life_steps=half_life,
        order=order,
        hidden=trace["hidden"][:, stream].numpy(),
        gates=gates,
        first=record.batch.first[:, stream].numpy(),
        out_of_sight=None if away is None else away[:, stream],
        shown_units=shown,
        read_outs=_read_outs(record, subject, memory, given.numpy()),
        departures=None if away is None else departures(away, record.batch.first.numpy(), trace["cell"].numpy()),
    )


class SteppedLstm(nn.Module):
    """An LSTM row by row, so that autograd knows every cell and every output.

    `states` has what went on in the last run, a tensor [B, units] f32 for every row: the gates "input", "forget" and
    "output" (0 to 1), "candidate" (what the input gate lets in, -1 to 1), and "cell" and "hidden" after the row.
    """

    def __init__(self, lstm: LSTM) -> None:
        super().__init__()
        self.lstm = lstm
        self.states: dict[str, list[Tensor]] = {}

    def forward(self, x: Tensor, first: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As `LSTM.forward`."""
        (hidden, cell), (given, weight_hidden) = state.unbind(1), self.lstm.gates_of_inputs(x)
        rows = []
        for t in range(len(x)):
            begins = first[t].unsqueeze(-1)
            kept_hidden, kept_cell = torch.where(begins, 0.0, hidden), torch.where(begins, 0.0, cell)
            gates = (given[t] + kept_hidden.to(given.dtype) @ weight_hidden.t()).to(torch.float32)
            i, f, o, g = torch.split(gates, self.lstm.units, dim=-1)
            i, f, o, g = i.sigmoid(), f.sigmoid(), o.sigmoid(), g.tanh()
            cell = f * kept_cell + i * g
            hidden = o * cell.tanh()
            rows.append({"input": i, "forget": f, "output": o, "candidate": g, "cell": cell, "hidden": hidden})
        self.states = {name: [row[name] for row in rows] for name in rows[0]}
        return torch.stack(self.states["hidden"]), torch.stack((hidden, cell), dim=1)


@torch.no_grad()
def look_inside(subject: Subject, record: Record, agents: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    """Of every team's first agents, one behind the other.

    Returns:
        `SteppedLstm.states`, each [T, B x agents, H], and what the LSTM is given, [T, B x agents, units] f32.
    """
    batch, policy = record.batch, subject.policy
    previous = {name: action[:-1] for name, action in batch.action.items()}
    x, _ = policy.encode(batch.observation, previous, (*batch.first.shape, subject.spec.agents_per_team))
    x = x[:, :, :agents].flatten(1, 2)
    first = torch.ones_like(batch.first) if policy.config.zero_state else batch.first
    stepped = SteppedLstm(policy.lstm)
    state = batch.lstm_state[0, :, :agents].flatten(0, 1).to(torch.float32)
    stepped(x, first.repeat_interleave(agents, dim=1), state)
    return {name: torch.stack(rows) for name, rows in stepped.states.items()}, x.to(torch.float32)


def half_lives(forget: Array) -> Array:
    """[..., H] forget gates -> [H] steps after which half of a cell is left: ln 2 / -mean(ln f)."""
    log = np.log(np.clip(forget.reshape(-1, forget.shape[-1]).astype(np.float64), 1e-12, 1 - 1e-7))
    result: Array = np.log(2) / -log.mean(axis=0)
    return result


def departures(away: Array, first: Array, cell: Array, k: int = 3) -> Departures | None:
    """Moments at which something leaves sight, having been in sight and staying away, within one game.

    Args:
        away: [T, B] bool, out of sight.
        first: [T, B] bool, a game begins.
        cell: [T, B, H].
        k: how many units to show: those whose cells move most, in units of their own spread.

    Returns:
        None where it happened too seldom.
    """
    rows = away.shape[0]
    windows = []
    for t in range(BEFORE, rows - AFTER):
        around = slice(t - BEFORE, t + AFTER)
        stays = ~away[t - 4 : t].any(axis=0) & away[t : t + AFTER].all(axis=0) & ~first[around].any(axis=0)
        windows += [cell[around, b] for b in np.flatnonzero(stays)]
    if len(windows) < FEWEST_DEPARTURES:
        return None
    found = np.stack(windows)  # [n, rows, H]
    spread = cell.reshape(-1, cell.shape[-1]).std(axis=0) + 1e-6
    moved = np.abs(found[:, BEFORE + AFTER // 2 :].mean(axis=(0, 1)) - found[:, BEFORE - 4 : BEFORE].mean(axis=(0, 1)))
    units = np.argsort(-moved / spread)[:k]
    chosen = found[:, :, units]
    error = chosen.std(axis=0) / np.sqrt(len(found))
    return Departures(count=len(found), units=units, mean=chosen.mean(axis=0), error=error)


def _read_outs(record: Record, subject: Subject, memory: Array, given: Array) -> tuple[ReadOut, ...]:
    """One for everything that is known to be hidden; else how well the memory knows what was seen some rows ago."""
    wanted = record.hidden or _seen_before(record, subject)
    valid = record.batch.valid[:, :, 0].numpy()
    if record.out_of_sight is not None:
        valid = valid & record.out_of_sight
    return tuple(
        found for name, truth in wanted.items() if (found := read_out(name, truth, valid, memory, given)) is not None
    )


def _seen_before(record: Record, subject: Subject) -> dict[str, Array]:
    """The numbers of the first vector entry that change most, as they were RECALLED_ROWS rows ago."""
    spec = subject.spec
    vectors = [
        name
        for name in subject.policy.entries
        if entry_kind(spec, name) == "vector" and record.batch.observation[name].dtype != torch.bool
    ]
    if not vectors:
        return {}
    x = record.batch.observation[vectors[0]].to(torch.float32).numpy()
    x = x if vectors[0] in spec.team_shared else x[:, :, 0]
    x = x.reshape(*x.shape[:2], -1)
    first = record.batch.first.numpy()
    found: dict[str, Array] = {}
    for k in np.argsort(-x.reshape(-1, x.shape[-1]).std(axis=0))[:2]:
        earlier = np.full(x.shape[:2], np.nan, np.float32)
        earlier[RECALLED_ROWS:] = x[:-RECALLED_ROWS, :, k]
        for back in range(RECALLED_ROWS):  # not across the border of a game
            earlier[back:][first[: len(first) - back]] = np.nan
        found[f"{vectors[0]}[{k}], {RECALLED_ROWS} steps ago"] = earlier
    return found


def read_out(name: str, truth: Array, counts: Array, memory: Array, given: Array) -> ReadOut | None:
    """Fit on the first half of the streams, judge on the others.

    Args:
        name: of what is read out.
        truth: [T, B], NaN where unknown.
        counts: [T, B] bool, rows that count.
        memory: [T, B, 2H].
        given: [T, B, units].

    Returns:
        None where there is too little of it, or it never changes.
    """
    counts = counts & np.isfinite(truth)
    half = truth.shape[1] // 2
    fit_rows, judge_rows = counts[:, :half], counts[:, half:]
    if min(fit_rows.sum(), judge_rows.sum()) < 50 or truth[:, half:][judge_rows].std() < 1e-6:
        return None
    says = {}
    for key, features in (("memory", memory), ("row", given)):
        weights = ridge(features[:, :half][fit_rows], truth[:, :half][fit_rows])
        says[key] = weights(features)
    actual = truth[:, half:][judge_rows]
    total = np.square(actual - truth[:, :half][fit_rows].mean()).sum()
    share = {k: float(1 - np.square(actual - v[:, half:][judge_rows]).sum() / total) for k, v in says.items()}
    last = truth.shape[1] - 1
    return ReadOut(
        name=name,
        from_memory=share["memory"],
        from_row=share["row"],
        truth=np.where(counts[:, last], truth[:, last], np.nan),
        memory_says=np.where(counts[:, last], says["memory"][:, last], np.nan),
        row_says=np.where(counts[:, last], says["row"][:, last], np.nan),
    )


def ridge(features: Array, target: Array) -> Any:
    """A linear function [..., F] -> [...] fitted to features [n, F] and target [n], on standardised features."""
    x = features.astype(np.float64)
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    x = (x - mean) / spread
    middle = float(target.astype(np.float64).mean())
    gram = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T @ (target.astype(np.float64) - middle))

    def says(given: Array) -> Array:
        result: Array = ((given - mean) / spread) @ weights + middle
        return result

    return says
