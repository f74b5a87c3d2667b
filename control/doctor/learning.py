"""A run that does not learn, said in words with the likeliest cause: pure rules over a `Course`.

A false alarm is worse than silence. So nothing is said before a fair number of versions, nor of a run that has become
better at any time, nor of one that began with a policy that had learned before, nor where no cause shows itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from quintet.control import metrics as names
from quintet.control.doctor.finding import Finding, Severity
from quintet.control.doctor.health_snapshot import HealthSnapshot
from quintet.control.doctor.learning_course import Course, mean, values

LEAST_VERSIONS, LEAST_STEPS = 60, 50_000
"""A fair number: small games are half learned by then with settings that fit, and an hour of others is not lost yet.
They are counted from the last change of a setting on."""
LONG_VERSIONS, LONG_STEPS = 300, 500_000
"""After so many it is said even where no cause shows itself: some games are learned late."""
FRESH = 0.9
"""Share of a fresh policy's entropy below which a first version has learned before (`--from`)."""
CHANCE = 5.0
"""`learning/action_effect` is the largest of up to some 10,000 numbers that are normal where actions do nothing: one in
200 games of that kind passes this."""
LOW_RATE, HIGH_RATE = 3e-5, 1e-2
"""Adam moves every weight by about the learning rate in a step: below the first, thousands of steps change nothing that
shows, above the second a few dozen throw a network of weights near 0.1 about."""
FEW_STEPS = 500.0
"""Agent steps for one gradient step. Settings that learn small games have 10 to 300; with 4,096, 300,000 steps are 74
gradient steps, of which each changes a probability by some thousandths."""
FAR = 0.1
"""Mean KL divergence of an update in nats; where PPO learns it is 0.002 to 0.03."""
COLLAPSED = 0.05
"""Share of a fresh policy's entropy at which it no longer tries anything."""
SWAMPED = 0.99
"""Share of the value loss in the trunk's gradient. Where policies learn it begins at 0.8 to 0.98 and falls."""

WHY = "its steps are played for nothing until that changes"
TIME_LIMIT = """--set 'game_options.wrappers=[{name="gymnasium.wrappers:TimeLimit", max_episode_steps=1000}]'"""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a run does not learn."""

    seen: str
    advice: str


def not_learning(snapshot: HealthSnapshot) -> Iterator[Finding]:
    """The one finding of a run that does not learn, or none."""
    course = snapshot.course
    if course is None or not _is_long_enough(course, snapshot):
        return
    performance = course.performance
    if performance in ("better", "unclear") or _had_learned(course):
        return
    if performance == "flat":
        causes = [cause for look in CAUSES if (cause := look(course)) is not None]
    elif course.knows_entropy and course.entropy_stands_still and _game_stands_still(course):
        causes = [cause for look in HARDLY_MOVES if (cause := look(course)) is not None]
    else:
        return
    severity: Severity = "warning"
    if not causes:
        if performance == "unknown" or not course.entropy_stands_still or not _is_long(course):
            return
        severity, causes = "hint", [UNKNOWN]
    likeliest, *others = causes
    besides = [f"besides, {cause.seen}; {cause.advice}" for cause in others]
    yield Finding(
        severity=severity,
        about="learning",
        seen=f"{_stands_still(course)} in {course.versions:,} versions: {likeliest.seen}",
        why=WHY,
        advice=likeliest.advice,
        details="\n".join([*_command(likeliest.advice, snapshot), *besides, _numbers(course)]),
    )


def _is_long_enough(course: Course, snapshot: HealthSnapshot) -> bool:
    """Whether there have been enough versions since the settings were last changed."""
    changed_s = max((e.time_s for e in snapshot.events if e.kind in ("set", "resumed")), default=0.0)
    rows = [row for row in course.rows if row[names.TIME_S] > changed_s]
    if len(course.first) == len(course.rows) or not rows:
        return False
    versions = rows[-1][names.VERSION] - rows[0][names.VERSION] + 1
    steps = rows[-1][names.AGENT_STEPS] - (rows[0][names.AGENT_STEPS] if changed_s else 0)
    return bool(versions >= LEAST_VERSIONS and steps >= LEAST_STEPS)


def _had_learned(course: Course) -> bool:
    """Whether the first version's policy was no fresh one; that one update threw it far away is another matter."""
    first = course.rows[0]
    share, moved = first.get(names.ENTROPY_SHARE), first.get(names.APPROX_KL)
    return share is not None and share < FRESH and not (moved is not None and moved >= FAR)


def _is_long(course: Course) -> bool:
    return course.versions >= LONG_VERSIONS and course.agent_steps >= LONG_STEPS


def _game_stands_still(course: Course) -> bool:
    """Whether nothing else that games report has moved by a tenth: their length, and what they count."""
    kept = [name for name in course.rows[-1] if name.startswith("game/") or name == names.EPISODIC_LENGTH]
    return all(
        abs(mean(course.newest, name) - found[0]) <= 0.1 * abs(found[0])
        for name in kept
        if not name.startswith((names.WIN_RATE, names.DRAW_RATE)) and (found := values(course.rows, name))
    )


def _never_ends(course: Course) -> Cause | None:
    """No game has ended, and what is played has become one and the same."""
    stuck = not any(values(course.newest, names.REWARD_STD)) or not any(values(course.newest, names.INPUTS_THAT_VARY))
    return _no_end(course) if stuck else None


def _no_end(course: Course) -> Cause | None:
    if course.has_ended_games:
        return None
    return Cause(
        f"no game has ended in {course.agent_steps:,} steps",
        f"end games that are lost or stuck, for example by a time limit: {TIME_LIMIT}",
    )


def _same_rewards(course: Course) -> Cause | None:
    """Neither a reward nor a whole game is ever paid otherwise: games that all last as long are, at any wage."""
    if any(values(course.rows, names.REWARD_STD)) or any(values(course.rows, names.EPISODIC_RETURN_STD)):
        return None
    paid = values(course.rows, names.REWARD_MEAN)
    if not paid or max(paid) - min(paid) > 1e-6 * abs(paid[0]):
        return None
    return Cause(
        f"every one of {course.agent_steps:,} steps was paid {paid[0]:g}",
        "pay what is better with more: see what the game pays with quintet check, or reward steps towards the goal",
    )


def _blind(course: Course) -> Cause | None:
    if any(values(course.rows, names.INPUTS_THAT_VARY)) or not values(course.rows, names.INPUTS_THAT_VARY):
        return None
    return Cause(
        "the observation is the same in every row",
        "see what the environment returns, and what wrappers or game_options.leave_out leave of it (quintet check)",
    )


def _deaf(course: Course) -> Cause | None:
    effect, rows = (course.rows[-1].get(name) for name in (names.ACTION_EFFECT, names.ACTION_ROWS))
    if effect is None or rows is None or rows < LEAST_STEPS or effect >= CHANCE:
        return None
    return Cause(
        f"neither rewards nor observations depend on the action, in {rows:,.0f} rows",
        "see whether the environment uses the action that it is handed, and whether a wrapper changes it on the way",
    )


def _rate_too_large(course: Course) -> Cause | None:
    rate, moved = mean(course.newest, names.LEARNING_RATE), mean(course.rows, names.APPROX_KL)
    if moved >= FAR or rate > HIGH_RATE:
        seen = f"an update moves the policy by {moved:.2g} nats, at a learning rate of {rate:g}"
    elif course.entropy[1] < COLLAPSED:
        seen = f"the policy has come down to one action before it learned, at a learning rate of {rate:g}"
    else:
        return None
    advice = f"try ppo.learning_rate={_round(min(rate / 10, 3e-4))}"
    return Cause(seen, advice if moved >= FAR else f"{advice}, or a larger ppo.entropy_coefficient")


def _rate_too_small(course: Course) -> Cause | None:
    rates = values(course.rows, names.LEARNING_RATE)
    if not course.entropy_stands_still or not rates or max(rates) >= LOW_RATE:
        return None
    return Cause(f"a learning rate of {rates[-1]:g} hardly moves the policy", "try ppo.learning_rate=3e-4")


def _few_gradient_steps(course: Course) -> Cause | None:
    steps = course.steps_per_gradient_step
    if not course.entropy_stands_still or steps < FEW_STEPS:
        return None
    taken = mean(course.newest, names.GRADIENT_STEPS)
    advice = "ppo.epochs=4" if taken < 4 else "ppo.minibatches=4, or a smaller optimizer.batch_steps"
    return Cause(f"the policy takes 1 gradient step per {steps:,.0f} steps", f"try {advice}")


def _swamped(course: Course) -> Cause | None:
    share = mean(course.newest, names.VALUE_GRADIENT_SHARE)
    if not share >= SWAMPED:
        return None
    return Cause(
        f"{min(math.floor(1000 * share), 999) / 10:g}% of the gradient that policy and value share is the value's",
        "try a tenth of ppo.value_coefficient",
    )


Look = Callable[[Course], Cause | None]
HARDLY_MOVES: tuple[Look, ...] = (_rate_too_small, _few_gradient_steps)
CAUSES: tuple[Look, ...] = (
    _never_ends, _same_rewards, _blind, _deaf, _rate_too_large, *HARDLY_MOVES, _swamped,
    lambda course: _no_end(course) if course.entropy_stands_still else None,
)  # fmt: skip
"""The likeliest first: what no setting can make up for, then what one explains. Others that fit are told, too."""
UNKNOWN = Cause(
    "no cause shows itself",
    "it may need more steps; else a denser reward, a larger ppo.entropy_coefficient or another ppo.discount",
)


def _stands_still(course: Course) -> str:
    judged = "return" if course.has_ended_games else "reward"
    if course.performance == "unknown":
        return "entropy has not moved"
    return f"entropy and {judged} have not moved" if course.entropy_stands_still else f"{judged} has not risen"


def _numbers(course: Course) -> str:
    """What it was at first and is now."""
    shown = (
        names.EPISODIC_RETURN, names.REWARD_MEAN, names.ENTROPY, names.EXPLAINED_VARIANCE, names.APPROX_KL,
        names.LEARNING_RATE, names.ACTION_EFFECT, names.VALUE_GRADIENT_SHARE,
    )  # fmt: skip
    lines = [f"{'':<32}{'at first':>12}{'now':>12}"]
    for name in shown:
        if begun := values(course.rows, name)[: len(course.first)]:
            lines.append(f"{name:<32}{sum(begun) / len(begun):>12.4g}{mean(course.newest, name):>12.4g}")
    return "\n".join(lines)


def _command(advice: str, snapshot: HealthSnapshot) -> list[str]:
    """The command that changes a setting, where the advice is one to try."""
    setting = re.match(r"try (ppo\.\S+=[^\s,]+)", advice)
    if setting is None:
        return []
    if snapshot.live and "minibatches" not in setting[1]:
        return [f"the command: quintet set {setting[1]}"]
    return [f"the command: quintet train --run {snapshot.run} --resume --set {setting[1]}"]


def _round(rate: float) -> str:
    return f"{rate:.0e}".replace("e-0", "e-")
