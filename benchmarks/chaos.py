"""A live run in which something is killed every 20 s at random, beside the same run left in peace.

    python benchmarks/chaos.py --minutes 20 [--seed 1] [--json]

First the undisturbed run, then the disturbed one, both a real `quintet train` (embedded Redis, Ray, own optimizer).
Every `every_s` one victim is drawn with the seed and gets SIGKILL; half way Redis also stands still for `away_s`.

    unaccounted   steps that break the conservation law: produced - trained - stale - rejected - lost - in flight
    lost          steps counted as lost, by the victim whose death they followed
    hang          nothing was trained for `hang_s` after a death
    back_s        seconds from a death to the next trained step, by victim
    ratio         (trained - undone) steps/s, the killing included, of those of the undisturbed run
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import Any

from common.arguments import from_command_line
from common.live import OPTIMIZER, RAY, REDIS, SHARED_CORES, TRAIN, WORKER, Live, live, pause
from common.machine import BUSY_SHARE, busy_share, describe
from common.quintet_run import QuintetRunError
from rich.console import Console
from rich.table import Table

from quintet.wire.link import Counters

UNIT = "(trained - undone) steps/s of the disturbed run per one of the undisturbed run"
BAR, BACK_BAR_S = 0.7, 20.0
BATCH_STEPS = 2048
SETTINGS: dict[str, object] = {
    "agent_steps": "none",
    "rollout.workers": 2,
    "optimizer.checkpoint_s": 5,
    "optimizer.batch_steps": BATCH_STEPS,
    "wire.max_queued_batches": 1.0,
}
AWAY = "redis stands still"
STEADY_S = 5.0

console = Console(stderr=True, log_path=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Args:
    """How long, how often and what is killed."""

    minutes: float = 20.0
    """How long the disturbed run goes on."""
    peace_minutes: float = 3.0
    """How long the undisturbed run is measured."""
    every_s: float = 20.0
    """Seconds between two deaths."""
    victims: tuple[str, ...] = (WORKER, WORKER, WORKER, OPTIMIZER, REDIS, RAY, TRAIN)
    """Whom one is drawn from: worker, optimizer, redis, ray, train; named more often is drawn more often."""
    away_s: float = 60.0
    """For how long Redis stands still half way; 0 leaves that out."""
    hang_s: float = 90.0
    """A run that trains nothing for so long after a death hangs."""
    seed: int = 1
    """Draws the victims."""
    json: bool = False
    """Print one object with ratio, unit and config as the last line of stdout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """What came of one death."""

    victim: str
    back_s: float | None  # until something was trained again; None: not within hang_s
    lost_before: int  # steps counted as lost when it happened
    unaccounted: int  # once it trained again
    lost: int = 0  # steps counted as lost from then on until the next death


def in_peace(args: Args) -> float:
    """Steps/s of the undisturbed run."""
    with live(SETTINGS, *SHARED_CORES) as run:
        time.sleep(STEADY_S)
        begin_s, begin = time.monotonic(), run.net_steps()
        time.sleep(60 * args.peace_minutes)
        speed = (run.net_steps() - begin) / (time.monotonic() - begin_s)
    console.log(f"undisturbed: {speed:,.0f} steps/s")
    return speed


def disturb(args: Args) -> tuple[float, list[Death]]:
    """Steps/s of the disturbed run, and its deaths."""
    dice = random.Random(args.seed)
    deaths: list[Death] = []
    with live(SETTINGS, *SHARED_CORES) as run:
        time.sleep(STEADY_S)
        begin_s, begin = time.monotonic(), counters_of(run, args)
        end_s, away_left = begin_s + 60 * args.minutes, args.away_s > 0
        while (now_s := time.monotonic()) < end_s:
            half_way = away_left and now_s > (begin_s + end_s) / 2
            away_left = away_left and not half_way
            death = one_death(run, AWAY if half_way else dice.choice(args.victims), args)
            deaths.append(death)
            console.log(f"{len(deaths)}: {death.victim}: trains again after {_seconds(death.back_s)}")
            if death.back_s is None:
                break
            time.sleep(max(0.0, now_s + args.every_s - time.monotonic()))
        end = counters_of(run, args)
        speed = (end.trained - end.undone - begin.trained + begin.undone) / (time.monotonic() - begin_s)
    return speed, with_losses(deaths, end.lost)


def one_death(run: Live, victim: str, args: Args) -> Death:
    """Kill one process of this kind and wait until something is trained again."""
    before = counters_of(run, args)
    kind = REDIS if victim == AWAY else victim
    alive = run.wait_for(lambda: run.processes(kind), f"looking for {kind}", timeout_s=args.hang_s)
    process = alive[0] if kind != WORKER else random.Random(args.seed + before.produced).choice(alive)
    if victim == AWAY:
        pause(process, args.away_s)
    else:
        run.kill(process, kind)
    killed_s = time.monotonic()
    # A killed Redis forgets its last second, so the counters may go back first; what was queued would be trained
    # without any worker, so a batch must have arrived, too.
    lowest = before
    while time.monotonic() - killed_s < args.hang_s:
        now = run.counters()
        if now is not None:
            if now.trained > lowest.trained and now.produced >= lowest.produced + BATCH_STEPS:
                back_s = time.monotonic() - killed_s
                return Death(victim=victim, back_s=back_s, lost_before=before.lost, unaccounted=now.unaccounted)
            lowest = min(lowest, now, key=lambda counters: counters.produced)
        time.sleep(0.05)
    return Death(victim=victim, back_s=None, lost_before=before.lost, unaccounted=0)


def with_losses(deaths: list[Death], lost_at_the_end: int) -> list[Death]:
    """Each death with what was lost until the next one."""
    after = [death.lost_before for death in deaths[1:]] + [lost_at_the_end]
    return [replace(death, lost=lost - death.lost_before) for death, lost in zip(deaths, after, strict=True)]


def counters_of(run: Live, args: Args) -> Counters:
    """The counters of a Redis that answers."""
    found = run.wait_for(run.counters, "waiting for Redis to answer", timeout_s=args.hang_s)
    assert found is not None
    return found


def summarize(deaths: list[Death]) -> dict[str, dict[str, Any]]:
    """By victim: how often, how long until it trained again, what was lost."""
    groups: dict[str, list[Death]] = defaultdict(list)
    for death in deaths:
        groups[death.victim].append(death)
    return {
        victim: {
            "deaths": len(group),
            "back_s_mean": _mean([d.back_s for d in group if d.back_s is not None]),
            "back_s_max": max((d.back_s for d in group if d.back_s is not None), default=None),
            "lost": sum(d.lost for d in group),
            "hangs": sum(d.back_s is None for d in group),
        }
        for victim, group in sorted(groups.items())
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def result_table(result: dict[str, Any]) -> Table:
    verdict = "reached" if result["ratio"] >= BAR else "missed"
    if result["busy_share_before"] > BUSY_SHARE:
        verdict = "not judged: others used the machine"
    table = Table(title=f"disturbed / undisturbed = {result['ratio']:.2f} (bar {BAR:g}: {verdict})")
    table.add_column("killed")
    for name in ("times", "trains again, mean", "at most", "steps lost", "hangs"):
        table.add_column(name, justify="right")
    for victim, group in result["victims"].items():
        cells = (_seconds(group["back_s_mean"]), _seconds(group["back_s_max"]), f"{group['lost']:,}", group["hangs"])
        table.add_row(victim, str(group["deaths"]), *map(str, cells))
    table.caption = (
        f"steps unaccounted for: {result['unaccounted']}; an optimizer is back within {BACK_BAR_S:g} s: "
        + ("yes" if result["optimizer_back_in_time"] else "no")
    )
    return table


def main(args: Args) -> None:
    busy = busy_share()
    if busy > BUSY_SHARE:
        console.log(f"[yellow]others use {busy:.0%} of this machine; no ratio measured now is worth much")
    if unknown := set(args.victims) - {WORKER, OPTIMIZER, REDIS, RAY, TRAIN}:
        raise SystemExit(f"--victims: {', '.join(unknown)}; expected worker, optimizer, redis, ray, train")
    peace = in_peace(args)
    try:
        speed, deaths = disturb(args)
    except QuintetRunError as error:
        raise SystemExit(f"the disturbed run did not survive: {error}") from None
    victims = summarize(deaths)
    optimizer_s = victims.get(OPTIMIZER, {}).get("back_s_max")
    result = {
        "ratio": speed / peace,
        "bar": BAR,
        "unaccounted": max((abs(d.unaccounted) for d in deaths), default=0),
        "hangs": sum(d.back_s is None for d in deaths),
        "lost": sum(d.lost for d in deaths),
        "optimizer_back_in_time": optimizer_s is not None and optimizer_s <= BACK_BAR_S,
        "steps_per_s": {"undisturbed": peace, "disturbed": speed},
        "victims": victims,
        "busy_share_before": busy,
    }
    Console(file=sys.stderr if args.json else sys.stdout).print(result_table(result))
    if args.json:
        config = {"machine": describe(), "args": asdict(args), "settings": SETTINGS, **result}
        print(json.dumps({"ratio": result["ratio"], "unit": UNIT, "config": config}))


if __name__ == "__main__":
    main(from_command_line(Args, __doc__))
