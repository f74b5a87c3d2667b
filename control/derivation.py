"""What is derived from the game, where nobody chose it: a table of rules, whose numbers stand at the top.

    batch_steps <- episodes, teams, agents       epochs, minibatches <- batch_steps        discount <- episodes
    chunk_steps, games_per_worker <- batch_steps              learning_rate, entropy_coefficient <- the budget

A key that was given is never replaced, and the rules after it go by it. What every game shares is a plain default, in
the `config.py` of its section. Each derived value comes with its reason, which the board and config.toml show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from quintet.control.config import DERIVED, RunConfig, with_value
from quintet.control.live_settings import shown
from quintet.optimizer.config import PPOConfig, Ramp

LEAST_BATCH, MOST_BATCH = 2048, 8192
EPISODES_A_BATCH, CLOCK_EPISODES_A_BATCH = 2, 4
LEAST_OUTCOME_BATCH = 4096
BATCHES_A_BUDGET = 96  # a policy wants that many versions, though batches below `SMALL_BATCH` are noise
SMALL_BATCH, LEAST_BATCHES_A_BUDGET = 512, 8
LEAST_WINDOWS = 4  # of a team in a batch, however many agents it has
QUEUE_SHARE = 0.5  # of wire.max_queue_bytes, for a batch at most
LARGE_BATCH = 8192
SHARED_UNITS = 512  # of the LSTM, from which on a product is worth a second thread

CHUNK_ROWS, OUTCOME_CHUNK_ROWS, LARGE_CHUNK_ROWS = 64, 32, 16
LARGEST_CHUNK_BYTES = 2**24
LEAST_GAMES, MOST_GAMES, MOST_CLOCK_GAMES = 8, 64, 128
LARGE_QUEUE = 0.5  # batches that may wait, where a batch is large

PASSED_STEPS, MOST_PASSES, OUTCOME_PASSES, CLOCK_PASSES = 16384, 8, 4, 1
MINIBATCH_STEPS, OUTCOME_MINIBATCH_STEPS, CLOCK_MINIBATCH_STEPS = 256, 512, 2048

LEAST_HORIZON, MOST_HORIZON, HORIZONS_AN_EPISODE = 20, 1000, 5
HALF_LIFE_S = 30.0
OUTCOME_LAMBDA = 0.9

LEARNING_RATE, LAST_LEARNING_RATE = PPOConfig().learning_rate.value, 5e-5
ENTROPY, LAST_ENTROPY = PPOConfig().entropy_coefficient.value, 0.0
OUTCOME_ENTROPY, LAST_OUTCOME_ENTROPY = 0.05, 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class GameFacts:
    """What the rules know of a game: see `quintet.control.game_facts`."""

    teams: int
    agents_per_team: int
    episode_steps: int  # rows of a typical episode
    episode_words: str  # where that comes from: "its bound", "in random play"
    step_s: float = 1.0
    has_clock: bool = False  # it counts seconds: a half-life in seconds means something
    zero_sum: bool = False  # between two teams or more
    outcome_only: bool = False  # zero-sum, and only the end of a game pays, who won
    outcome_reward: float = 1.0  # the most that an end pays, in reward units
    choices: int = 0  # of the largest Discrete head, or of the primary one; 0 without any
    row_bytes: int = 0  # of a team's row, as it travels

    @property
    def bodies(self) -> int:
        """Agents of all teams of a game."""
        return self.teams * self.agents_per_team


@dataclass(frozen=True, slots=True)
class Derivation:
    """A value that nobody chose, and the reason for it."""

    key: str
    value: Any
    because: str

    def __str__(self) -> str:
        """`ppo.epochs = 4: so many passes over a batch of 2,048 steps make ...`."""
        return f"{self.key} = {shown(self.value)}: {self.because}"


@dataclass(frozen=True, slots=True)
class Derived:
    """A whole configuration, and what of it was derived."""

    config: RunConfig
    lines: tuple[Derivation, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule goes by: what was given and, by the rules before it, derived."""

    config: RunConfig
    given: Collection[str]
    facts: GameFacts

    @property
    def batch(self) -> int:
        """optimizer.batch_steps."""
        return self.config.optimizer.batch_steps


Answer = tuple[Any, str] | None  # a value and its reason; None leaves the default


def derive(config: RunConfig, given: Collection[str], facts: GameFacts) -> Derived:
    """Fill in every key with a rule that is not in `given`; the result passes `check_config` if what was given can."""
    lines: list[Derivation] = []
    for key, rule in RULES.items():
        answer = None if key in given else rule.answer(Case(config, given, facts))
        if answer is not None:
            lines.append(Derivation(key, *answer))
            config = with_value(config, key, answer[0])
    return Derived(config, tuple(lines))


def with_heading(text: str, lines: Sequence[Derivation]) -> str:
    """A configuration's text below what was derived, a comment for each: `# derived: ppo.epochs = 4: ...`."""
    heading = "".join(f"{DERIVED}{line}\n" for line in lines)
    return f"{heading}\n{text}" if lines else text


def with_reasons(text: str, lines: Sequence[Derivation]) -> str:
    """A configuration's text with the reason above every value that was derived."""
    left, section, written = {line.key: line for line in lines}, "", []
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        key = section if line.startswith("[") else f"{section}.{line.partition(' = ')[0]}".lstrip(".")
        if key in left:
            written.append(f"# derived: {left.pop(key).because}")
        written.append(line)
    return "\n".join(written) + "\n"


def is_wholly_given(given: Collection[str]) -> bool:
    """Whether there is nothing to derive, so that nobody needs to look at the game for it."""
    return all(key in given for key in RULES)


def batch_steps(case: Case) -> Answer:
    """A few whole episodes: fewer are noise, more are needless waiting for the next policy.

    Ends that pay +1 and -1 are noisier than sums of rewards: at least `LEAST_OUTCOME_BATCH` of those. A power of two,
    which minibatches divide. Fewer where a budget would make too few versions, but a few windows of all agents of a
    team; and what the stream has room for.
    """
    facts = case.facts
    one = facts.bodies * facts.episode_steps
    least = LEAST_OUTCOME_BATCH if facts.outcome_only else LEAST_BATCH
    episodes = CLOCK_EPISODES_A_BATCH if facts.has_clock else EPISODES_A_BATCH
    batch = min(max(_power_of_two(episodes * one), least), MOST_BATCH)
    because = f"about {_amount(batch / one, 'episode')} of {_episode(facts)}"
    budget = case.config.agent_steps
    most = MOST_BATCH if budget is None else _most_of_a_budget(budget)
    if batch > most:
        batch = 2 ** math.floor(math.log2(max(1.0, most)))
        because = f"so that the budget makes about {_amount(budget / batch, 'version')}"
    window = case.config.rollout.bptt_steps * facts.agents_per_team
    parts = case.config.ppo.minibatches if "ppo.minibatches" in case.given else 0
    windows = max(LEAST_WINDOWS, parts)
    if batch < windows * window:
        batch = 2 ** math.ceil(math.log2(windows * window))
        because = f"holds {batch // window} windows of {_amount(facts.agents_per_team, 'agent')}"
    step_bytes = max(1.0, facts.row_bytes / facts.agents_per_team)
    room = QUEUE_SHARE * case.config.wire.max_queue_bytes / step_bytes
    if batch > room:
        batch = max(window, 2 ** math.floor(math.log2(max(1.0, room))))
        because = f"a step has {step_bytes:,.0f} bytes, and the stream holds no more"
    return batch, because


def chunk_steps(case: Case) -> Answer:
    """Long enough for advantages to see what comes of an action, short enough to arrive while it is fresh.

    Large batches come of many chunks anyway, so that theirs may be short; and so may those of many workers, which all
    have some open.
    """
    rows, because = CHUNK_ROWS, "long enough to see what comes of an action"
    if case.facts.outcome_only:
        rows, because = OUTCOME_CHUNK_ROWS, "games are short"
    elif case.batch >= LARGE_BATCH:
        rows, because = LARGE_CHUNK_ROWS, "many short chunks fill a large batch evenly"
    window, workers = case.config.rollout.bptt_steps, max(1, case.config.rollout.workers)
    most = LARGEST_CHUNK_BYTES // max(1, case.facts.row_bytes)
    if rows > most:
        rows, because = most, f"a row has {case.facts.row_bytes:,} bytes"
    most = case.batch // (workers * _least_games(case.facts) * case.facts.bodies)
    if rows > most:
        rows, because = most, f"the chunks of {workers} workers fill a batch all the same"
    return window * max(1, round(rows / window)), because


def games_per_worker(case: Case) -> Answer:
    """So many that about one batch is being played at once: more would be stale, fewer would be slow."""
    rollout, facts = case.config.rollout, case.facts
    workers, chunk = max(1, rollout.workers), facts.bodies * rollout.chunk_steps
    most = MOST_CLOCK_GAMES if facts.has_clock else MOST_GAMES
    games = min(max(case.batch // (workers * chunk), _least_games(facts)), most)
    share = workers * games * chunk / case.batch
    return games, f"{_share(share)} is being played at once, in chunks of {rollout.chunk_steps} rows"


def epochs(case: Case) -> Answer:
    """The smaller a batch, the more often it may be passed over before the policy has left it behind."""
    if case.facts.outcome_only:
        return OUTCOME_PASSES, "wins and losses are too noisy for more passes"
    if case.facts.has_clock:
        return CLOCK_PASSES, "a game that counts seconds makes rows faster than they are learned from"
    passes = min(max(round(PASSED_STEPS / case.batch), 1), MOST_PASSES)
    return passes, f"passes over a batch of {case.batch:,} steps"


def minibatches(case: Case) -> Answer:
    """Parts of about `minibatch_steps`: a gradient step each."""
    windows = max(1, case.batch // (case.config.rollout.bptt_steps * case.facts.agents_per_team))
    parts = min(max(1, round(case.batch / minibatch_steps(case.facts))), windows)
    steps = case.config.ppo.epochs * parts
    return parts, f"of {case.batch // parts:,} steps: {_amount(steps, 'gradient step')} a batch"


def minibatch_steps(facts: GameFacts) -> int:
    """Steps for a gradient: more where outcomes are noise, and where rows are many and each is passed over once."""
    if facts.has_clock:
        return CLOCK_MINIBATCH_STEPS
    return OUTCOME_MINIBATCH_STEPS if facts.outcome_only else MINIBATCH_STEPS


def normalizer_warmup_steps(case: Case) -> Answer:
    """The first batch only shows what inputs look like, and no second one, though not every step of it may count."""
    return max(1, case.batch // 4), "so that the first batch, and it alone, shows what inputs look like"


def threads(case: Case) -> Answer:
    """Products of a small network are too small to share: threads would wait for one another, and play for them."""
    units = case.config.model.lstm_units
    return (1, f"products of {units} units are too small to share") if units < SHARED_UNITS else None


def max_queued_batches(case: Case) -> Answer:
    """A large batch takes long to learn from: a part of the next one may wait meanwhile."""
    if case.batch < LARGE_BATCH:
        return None
    return LARGE_QUEUE, f"a batch of {case.batch:,} steps takes long to learn from"


def half_life_s(case: Case) -> Answer:
    """A game that counts seconds has its horizon in seconds."""
    if not case.facts.has_clock or "ppo.discount" in case.given:
        return None
    return Ramp(value=HALF_LIFE_S), f"the game counts seconds, {case.facts.step_s:g} a row"


def discount(case: Case) -> Answer:
    """A horizon of a part of an episode; where only the end pays, the end counts whole."""
    if case.config.ppo.half_life_s != Ramp(value=0.0):
        return None
    if case.facts.outcome_only:
        return 1.0, "only a game's end pays, and it is sure to come"
    horizon = min(max(case.facts.episode_steps / HORIZONS_AN_EPISODE, LEAST_HORIZON), MOST_HORIZON)
    return round(1 - 1 / horizon, 6), f"looks {horizon:,.0f} rows ahead, of episodes of {_episode(case.facts)}"


def gae_lambda(case: Case) -> Answer:
    """Where only the end pays, values nearer than the end are worth more than what chance made of the rest."""
    return (OUTCOME_LAMBDA, "only a game's end pays") if case.facts.outcome_only else None


def normalize_advantages(case: Case) -> Answer:
    """Between players who never lose every return is 0, and normalising would blow noise up to the size of a win."""
    return (False, "advantages stay in units of a game that is won") if case.facts.outcome_only else None


def advantage_unit(case: Case) -> Answer:
    """Advantages that are not normalised are in units of what a win pays, so that its currency does not matter."""
    pays = case.facts.outcome_reward
    if case.config.ppo.normalize_advantages or not case.facts.outcome_only or pays == 1.0:
        return None
    return pays, "a game's end pays at most so much"


def learning_rate(case: Case) -> Answer:
    """Large at first; small at the end of the budget, so that what is found is kept."""
    return _towards_the_end(case, LEARNING_RATE, LAST_LEARNING_RATE)


def entropy_coefficient(case: Case) -> Answer:
    """Keeps every move in play at first; see `entropy_bonus`."""
    first, last, because = entropy_bonus(case.facts)
    if first == last:
        return Ramp(value=first), because
    ramp, budget = _towards_the_end(case, first, last)
    return ramp, f"{because}; {budget}"


def entropy_bonus(facts: GameFacts) -> tuple[float, float, str]:
    """The entropy bonus at first and at the end of a budget, and why.

    Where only the end pays it is in units of a game, and large: every move that loses nothing stays in play.
    """
    if facts.outcome_only:
        return OUTCOME_ENTROPY, LAST_OUTCOME_ENTROPY, "every move that loses nothing stays in play"
    if not facts.choices:
        return 0.0, 0.0, "actions are numbers, whose spread is learned"
    return ENTROPY, LAST_ENTROPY, "no choice is given up before it was tried"


@dataclass(frozen=True, slots=True)
class Rule:
    """What stands for a default."""

    words: str  # the rule in a few words, for docs/configuration.md
    answer: Callable[[Case], Answer]


RULES: dict[str, Rule] = {
    "optimizer.batch_steps": Rule("a few episodes", batch_steps),
    "rollout.chunk_steps": Rule("by the batch's size", chunk_steps),
    "rollout.games_per_worker": Rule("as many as play one batch at once", games_per_worker),
    "ppo.epochs": Rule("more, the smaller a batch is", epochs),
    "ppo.minibatches": Rule(
        f"of about {MINIBATCH_STEPS} steps, more where outcomes or a clock make them noisy or many", minibatches
    ),
    "optimizer.normalizer_warmup_steps": Rule("so that it is one batch", normalizer_warmup_steps),
    "optimizer.threads": Rule(f"1 below {SHARED_UNITS} LSTM units, else every core", threads),
    "wire.max_queued_batches": Rule(f"{LARGE_QUEUE:g} of large batches, else 0", max_queued_batches),
    "ppo.half_life_s": Rule(f"{HALF_LIFE_S:g} in games that count seconds, else 0", half_life_s),
    "ppo.discount": Rule("by the length of episodes", discount),
    "ppo.gae_lambda": Rule(
        f"{OUTCOME_LAMBDA:g} where only a game's end pays, else {PPOConfig().gae_lambda:g}", gae_lambda
    ),
    "ppo.normalize_advantages": Rule("false where only a game's end pays", normalize_advantages),
    "ppo.advantage_unit": Rule("what a win pays, where only a game's end pays, else 1", advantage_unit),
    "ppo.learning_rate": Rule(f"{LEARNING_RATE:g}, falls to the budget's end", learning_rate),
    "ppo.entropy_coefficient": Rule(f"{ENTROPY:g}, falls to the budget's end; 0 for Box alone", entropy_coefficient),
}
"""By key, in this order: each goes by what those before it made."""


def _towards_the_end(case: Case, first: float, last: float) -> tuple[Ramp, str]:
    """A ramp to the end of the budget of agent steps, or else of minutes, which no two runs fill alike."""
    steps, minutes = case.config.agent_steps, case.config.minutes
    if steps is not None:
        return Ramp(value=first, end=last, until_steps=steps), "falls until the budget ends"
    if minutes is not None and not case.config.deterministic:
        return Ramp(value=first, end=last, until_minutes=minutes), "falls until the budget ends"
    return Ramp(value=first), "constant, without a budget to fall in"


def _least_games(facts: GameFacts) -> int:
    """Games with `LEAST_GAMES` agents together: a network that acts for so many is no slower than for one."""
    return max(1, math.ceil(LEAST_GAMES / facts.bodies))


def _most_of_a_budget(agent_steps: int) -> float:
    """The largest batch with which a budget makes enough versions."""
    return max(agent_steps / BATCHES_A_BUDGET, min(SMALL_BATCH, agent_steps / LEAST_BATCHES_A_BUDGET))


def _power_of_two(steps: float) -> int:
    """The nearest one, by ratio."""
    return int(2 ** round(math.log2(max(1.0, steps))))


def _episode(facts: GameFacts) -> str:
    agents = "" if facts.bodies == 1 else f" x {facts.bodies} agents"
    return f"{facts.episode_steps:,} rows{agents} ({facts.episode_words})"


def _amount(number: float, what: str) -> str:
    text = f"{number:,.0f}" if number >= 1 or number == 0 else f"{number:.1g}"
    return f"{text} {what}{'s' * (text != '1')}"


def _share(batches: float) -> str:
    return "about one batch" if 0.75 <= batches <= 1.25 else f"{batches:.2g} of a batch"
