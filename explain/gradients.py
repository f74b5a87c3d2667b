"""How far a gradient reaches back: the loss of one row, differentiated by the memory of the rows before it.

The loss is the optimizer's own (`Learner.loss`) on rows that the policy has just played, masked down to the last row,
so that whatever gradient arrives k rows earlier went through the recurrence k times. For the plain RNN the very same
network, heads and rows are used; only the LSTM is replaced.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from quintet.explain.lstm import SteppedLstm, look_inside
from quintet.explain.subject import Record, Subject, fresh_subject, part_of, play_record
from quintet.games.api import Array
from quintet.model.policy import Policy
from quintet.optimizer.batch import Batch, Windows
from quintet.optimizer.learner import Learner

GAMES = 8
SPAN_ROWS = 64  # looked back over; the first `bptt_steps` of them are what training uses
RECORD_ROWS = 144
LEARNING_STEPS = 150  # of the plain RNN that learns to do what the LSTM does
LEARNING_RATE = 2e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientCurve:
    """Gradient norms of one network: index k is k rows before the loss, in units of the norm at k = 0."""

    name: str
    norms: Array  # [K]


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientReport:
    """Curves over SPAN_ROWS rows (fewer where games are shorter), the first of them the trained LSTM's cell."""

    subject: Subject
    bptt_steps: int
    columns: int  # teams whose rows were used
    curves: tuple[GradientCurve, ...]
    imitation: float  # share of the LSTM output's variance that the plain RNN has learned to produce
    recurrent_radius: dict[str, float]  # name of an RNN -> largest absolute eigenvalue of its recurrent matrix


def explain_gradients(
    subject: Subject, *, games: int = GAMES, rows: int = RECORD_ROWS, span: int = SPAN_ROWS, seed: int = 7
) -> GradientReport:
    """Play, differentiate, and do the same with plain RNNs of the same width in the LSTM's place."""
    record = play_record(subject, games=games, rows=rows, seed=seed)
    windows, start = last_rows(subject, record, span)
    units = subject.config.model.lstm_units
    inside = SteppedLstm(subject.policy.lstm)
    trained = norms_back(subject, inside, windows)
    curves = [
        GradientCurve(name="LSTM, its cells", norms=trained["cell"]),
        GradientCurve(name="LSTM, its output", norms=trained["hidden"]),
    ]
    fresh = fresh_subject(replace(subject.config, seed=seed))
    if subject.info is not None:
        begun = norms_back(subject, SteppedLstm(fresh.policy.lstm), windows)
        curves.append(GradientCurve(name="LSTM before training, its cells", norms=begun["cell"]))
    torch.manual_seed(seed)
    learned = PlainRnn(subject.policy.layer.out_features, units)
    imitation = imitate(learned, subject, record, start)
    networks = {
        "plain RNN that learned to do what the LSTM does": learned,
        "plain RNN before training": PlainRnn(subject.policy.layer.out_features, units),
        "plain RNN, small random weights": PlainRnn(subject.policy.layer.out_features, units, orthogonal=False),
    }
    curves += [
        GradientCurve(name=name, norms=norms_back(subject, rnn, windows)["hidden"]) for name, rnn in networks.items()
    ]
    return GradientReport(
        subject=subject,
        bptt_steps=subject.config.rollout.bptt_steps,
        columns=windows.first.shape[1],
        curves=tuple(curves),
        imitation=imitation,
        recurrent_radius={name: rnn.radius() for name, rnn in networks.items()},
    )


class PlainRnn(nn.Module):
    """h_t = tanh(W_x x_t + W_h h_{t-1} + b), in the LSTM's place; keeps every state of the last run in `states`."""

    def __init__(self, inputs: int, units: int, *, orthogonal: bool = True) -> None:
        super().__init__()
        self.input, self.recurrent = nn.Linear(inputs, units), nn.Linear(units, units, bias=False)
        if orthogonal:
            for layer in (self.input, self.recurrent):
                nn.init.orthogonal_(layer.weight)
            nn.init.zeros_(self.input.bias)
        self.states: dict[str, list[Tensor]] = {}

    def forward(self, x: Tensor, first: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As `LSTM.forward`; the cell stays what it is."""
        hidden, given = state[:, 0], self.input(x.to(self.input.weight.dtype))
        states: list[Tensor] = []
        for t in range(len(x)):
            kept = torch.where(first[t].unsqueeze(-1), 0.0, hidden)
            hidden = torch.tanh(given[t] + self.recurrent(kept))
            states.append(hidden)
        self.states = {"hidden": states}
        return torch.stack(states), torch.stack((hidden, state[:, 1]), dim=1)

    def radius(self) -> float:
        """The largest absolute eigenvalue of the recurrent matrix."""
        return float(torch.linalg.eigvals(self.recurrent.weight.detach()).abs().max())


def norms_back(subject: Subject, core: PlainRnn | SteppedLstm, windows: Windows) -> dict[str, Array]:
    """Per kind of state [K], K the rows of the windows: mean norm of dLoss/dstate, k rows before the last one.

    In units of the norm at k = 0. The loss is that of each window's last row.
    """
    learner = _learner(subject, with_core(subject.policy, core), bptt_steps=windows.first.shape[0])
    loss = learner.loss(windows, entropy_coefficient=0.0).total
    found = {}
    for kind in {"hidden", "cell"} & core.states.keys():
        gradients = torch.autograd.grad(loss, core.states[kind], retain_graph=True)
        norms = np.array([float(torch.linalg.vector_norm(g, dim=-1).mean()) for g in reversed(gradients)])
        found[kind] = norms / max(norms[0], 1e-30)
    return found


def with_core(policy: Policy, core: nn.Module) -> Policy:
    """A policy that shares everything with another one but its LSTM; the other one is not touched."""
    changed = copy.copy(policy)
    changed._modules = policy._modules | {"lstm": core}
    return changed


def last_rows(subject: Subject, record: Record, span: int) -> tuple[Windows, int]:
    """Windows of the longest uninterrupted stretch, up to `span` rows; and where in the record they begin.

    Only their last row reaches the loss, and only teams without a game's border within the window are in them.
    """
    batch = record.batch
    begin, span, columns = _stretch(batch, min(span, len(batch.first)))
    state = _state_before(subject, record, begin)
    part = part_of(batch, slice(begin, begin + span), columns, state)
    learner = _learner(subject, subject.policy, bptt_steps=span)
    advantage, returns = learner.targets(part, subject.agent_steps, subject.trained_s)
    last = torch.zeros_like(part.valid)
    last[-1] = True
    windows = learner.windows(part, last & part.valid, advantage, returns)
    # One row's advantage normalised over that one row would be 0 where there is a single team.
    scaled = advantage / subject.policy.returns.scale
    return replace(windows, rows=windows.rows | {"advantage": scaled}, labels={}), begin


def _stretch(batch: Batch, span: int) -> tuple[int, int, Tensor]:
    """(first row, rows, columns) of the stretch in which most teams play on without a game's border, the latest such.

    It is halved until there is one.
    """
    whole = batch.valid[..., 0] & ~batch.first
    while span >= 2:
        found = [
            whole[end - span : end].all(dim=0) & batch.acting[end - 1, :, 0] for end in range(span, len(whole) + 1)
        ]
        counts = [int(columns.sum()) for columns in found]
        if max(counts):
            best = len(counts) - 1 - counts[::-1].index(max(counts))
            return best, span, torch.nonzero(found[best]).flatten()
        span //= 2
    raise ValueError("every game ended at once: there are no two steps of one game to look at")


@torch.no_grad()
def _state_before(subject: Subject, record: Record, row: int) -> Tensor:
    """The LSTM's states [B, A, 2, H] before a row of the record."""
    batch = record.batch
    state = batch.lstm_state[0].to(torch.float32)
    if row == 0:
        return state
    everybody = range(batch.first.shape[1])
    part = part_of(batch, slice(0, row), everybody, state)
    previous = {name: action[:-1] for name, action in part.action.items()}
    return subject.policy.unroll(part.observation, part.first, previous, state).state


def imitate(rnn: PlainRnn, subject: Subject, record: Record, before_row: int) -> float:
    """Train a plain RNN to give the LSTM's outputs on the rows before `before_row`; the share of variance it explains.

    The gradient runs through all these rows at once, not through windows of 16: that is in the RNN's favour. The share
    is measured on the rows from `before_row` on, on which nothing was learned.
    """
    agents = subject.spec.agents_per_team
    trace, x = look_inside(subject, record, agents)
    wanted, first = trace["hidden"], record.batch.first.repeat_interleave(agents, dim=1)
    zeros = torch.zeros(wanted.shape[1], 2, wanted.shape[2])
    rows = max(before_row, len(x) // 2)
    adam = torch.optim.Adam(rnn.parameters(), lr=LEARNING_RATE)
    for _ in range(LEARNING_STEPS):
        made, _ = rnn(x[:rows], first[:rows], zeros)
        loss = (made - wanted[:rows]).square().mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(rnn.parameters(), 1.0)
        adam.step()
    with torch.no_grad():
        made, _ = rnn(x, first, zeros)
    error, spread = (
        (made - wanted)[rows:].square().sum(),
        (wanted[rows:] - wanted[:rows].mean(dim=(0, 1))).square().sum(),
    )
    return float(1 - error / spread)


def _learner(subject: Subject, policy: Policy, *, bptt_steps: int) -> Learner:
    config = subject.config
    return Learner(
        policy, spec=subject.spec, ppo=config.ppo, config=config.optimizer, bptt_steps=bptt_steps, seed=config.seed
    )
