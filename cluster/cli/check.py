"""`quintet check`: plays a game as a run would, and says what is wrong with it, each time with file and line."""

from __future__ import annotations

import contextlib
import json as json_module
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from quintet.control.config import RunConfig, check_config, given_keys, load_config
from quintet.control.config_reader import ConfigError
from quintet.control.derivation import derive
from quintet.control.errors import DONE, USAGE, exit_code, fault, keep_traceback, one_line
from quintet.control.game_facts import facts_of, needs_play
from quintet.control.output import answer, say
from quintet.games.api import GameCodeError, GameError, VectorGame
from quintet.games.copies import closing

if TYPE_CHECKING:
    from quintet.games.checks.rehearsal import Seen

SIDE_BY_SIDE = 2  # slots of each copy that plays beside others
POLICY_ROWS = 32
ROWS_UNTIL_AN_END = 3000  # of random play, where it alone can show how long games are
LIBRARY_ROWS = 100
# What libraries advise for trainers that take numbers as they come (here actions and inputs are normalised), and of an
# empty board.
NOT_FOR_US = (
    "we recommend using a symmetric and normalized space",
    "value is infinity",
    "value is -infinity",
    "numpy array is all zeros",
)

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class GameFinding:
    """One thing that is wrong, or hardly meant."""

    severity: Severity
    text: str  # begins with the file and line of the user's code, where there is one
    log: str | None = None  # where the whole traceback is

    def __str__(self) -> str:
        """`my_env.py:34: error: MyEnv.step ...`."""
        place, text = re.fullmatch(r"(\S[^:\n]*:\d+: )?(.*)", self.text, re.DOTALL).groups()  # type: ignore[union-attr]
        log = f"; the whole traceback is in {self.log}" if self.log else ""
        return f"{place or ''}{self.severity}: {text}{log}"


@dataclass(slots=True)
class Check:
    """What has been found so far."""

    findings: list[GameFinding] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing found is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def remark(self, texts: Sequence[str]) -> None:
        """Add warnings, each once."""
        known = {finding.text for finding in self.findings}
        self.findings += [GameFinding("warning", text) for text in dict.fromkeys(texts) if text not in known]

    @contextlib.contextmanager
    def fails(self) -> Iterator[None]:
        """An error that comes of the user's game or configuration is a finding; no other is caught."""
        try:
            yield
        except (GameError, ConfigError) as error:
            log = _log_of(error, None) if isinstance(error, GameError) else None
            self.findings.append(GameFinding("error", one_line(error), log))


def rehearsed(config: RunConfig, game: VectorGame, logs: Path | None) -> tuple[list[str], Seen]:
    """A few rows before a run begins; returns warnings, a line each, and what was seen, and closes the game.

    A run that is to be repeated to the last bit plays as many rows as any time, however long they take.

    Raises:
        UsageError, RunFailedError: the first fault; a traceback is kept in `logs`. See `refused`, `keep_traceback`.
    """
    from quintet.games.checks.rehearsal import WITHIN_S, rehearse_rows

    with closing(game), refused(logs):
        within_s, long = (math.inf, 0) if config.deterministic else (WITHIN_S, ROWS_UNTIL_AN_END)
        until_an_end = long if needs_play(game.spec) else 0
        found = rehearse_rows(game, config.seed, within_s=within_s, until_an_end=until_an_end)
    return [str(GameFinding("warning", text)) for text in found.remarks], found.seen


@contextlib.contextmanager
def refused(logs: Path | None) -> Iterator[None]:
    """A game's error as what it is before a run begins: a reason not to begin it.

    Raises:
        UsageError: in place of a GameError: the game cannot be meant.
        RunFailedError: in place of one that comes of what the game did.
    """
    try:
        yield
    except GameError as error:
        raise fault(one_line(error), exit_code(error), _log_of(error, logs)) from error


def _log_of(error: GameError, logs: Path | None) -> str | None:
    """The file with the traceback of what the user's own code raised."""
    raised = isinstance(error, GameCodeError) and error.__cause__ is not None
    return keep_traceback(error, logs) if raised else None


def check(config: RunConfig, rows: int | None = None) -> Check:
    """Play the game in every way that shows something; the first error ends it.

    One copy with random actions, then the checker of the library that the environment is written for, then three copies
    side by side by `quintet.games.contract` (`rows` long, or as it sees fit), then one with a policy. Each is closed
    before the
    next is made.
    """
    found = Check()
    with contextlib.redirect_stdout(sys.stderr):  # what environments and checkers print
        for part in (_check_rows, _check_by_library, partial(_check_contract, rows=rows), _check_with_policy):
            with found.fails():
                part(config, found)
            if not found.passed:
                break
    return found


def _made(config: RunConfig, n_games: int = 1) -> VectorGame:
    from quintet.games.registry import make_game

    return make_game(config.game, n_games, config.seed, config.game_options)


def _check_rows(config: RunConfig, found: Check) -> None:
    from quintet.games.checks.rehearsal import rehearse_rows

    with closing(_made(config)) as game:
        rehearsal = rehearse_rows(game, config.seed)
        found.remark(rehearsal.remarks)
        facts = facts_of(game.spec, rehearsal.seen, config)
        check_config(derive(config, given_keys(config), facts).config, game.spec)


def _check_by_library(config: RunConfig, found: Check) -> None:
    """What gymnasium's and PettingZoo's own checkers say; a warning each, since what cannot be trained on is ours."""
    from quintet.games.checks.blame import described_error, place, raised_at
    from quintet.games.checks.rehearsal import origin

    with closing(_made(config)) as game, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        env = origin(game)
        name, checker = _library_checker(env, masked=bool(game.spec.masked_heads))
        texts = []
        if checker is not None:
            try:
                checker()
            except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever it is, the checker's finding)
                line = raised_at(error)
                texts.append(f"{line or place(env)}: {name}: {described_error(error)}")
        for warning in said:
            text = _plain(str(warning.message))
            if not issubclass(warning.category, DeprecationWarning) and not any(part in text for part in NOT_FOR_US):
                texts.append(f"{place(env)}: {name}: {text}")
    if checker is not None:
        found.remark(texts)


def _plain(text: str) -> str:
    """A library's warning in one line without its colours."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).removeprefix("WARN: ").split())


def _library_checker(env: Any, *, masked: bool) -> tuple[str, Callable[[], None] | None]:
    """The checker of the library that an environment is written for; gymnasium's knows no action masks."""
    import gymnasium

    raw = getattr(env, "unwrapped", env)
    if isinstance(raw, gymnasium.Env):
        if masked:
            return "", None
        from gymnasium.utils.env_checker import check_env

        return "gymnasium's checker", lambda: check_env(raw, skip_render_check=True, skip_close_check=True)
    if "pettingzoo" in sys.modules:
        from pettingzoo import AECEnv, ParallelEnv

        if isinstance(env, ParallelEnv):
            from pettingzoo.test import parallel_api_test

            return "PettingZoo's checker", lambda: parallel_api_test(env, num_cycles=LIBRARY_ROWS)
        if isinstance(env, AECEnv):
            from pettingzoo.test import api_test

            return "PettingZoo's checker", lambda: api_test(env, num_cycles=LIBRARY_ROWS)
    return "", None


def _check_contract(config: RunConfig, found: Check, *, rows: int | None) -> None:
    from quintet.games.checks.blame import place
    from quintet.games.checks.rehearsal import origin
    from quintet.games.contract import NotReproducibleError, check_game

    origins: list[str] = []

    def make(n_games: int) -> VectorGame:
        game = _made(config, n_games)
        origins.append(place(origin(game), "reset"))
        return game

    try:
        check_game(make, n_games=SIDE_BY_SIDE, rows=rows, seed=config.seed, outside={})
    except NotReproducibleError as error:
        text = one_line(error).removeprefix(f"{config.game}: ")
        found.remark(
            [
                f"{origins[0]}: {text}; the same command does not give the same run: draw all chance from a "
                "generator that reset seeds (Gymnasium's: super().reset(seed=seed), then self.np_random)"
            ]
        )
    except GameError as error:
        if len(origins) == 3:
            raise
        found.remark(
            [
                f"{one_line(error)}: copies cannot stand side by side; a run opens rollout.workers x "
                "rollout.games_per_worker of them at once"
            ]
        )


def _check_with_policy(config: RunConfig, found: Check) -> None:
    import torch

    from quintet.model.policy import Policy
    from quintet.rollout_workers.policy_rehearsal import rehearse_policy

    with closing(_made(config)) as game:
        policy = Policy(game.spec, config.model).use_device(torch.device("cpu"))
        rehearse_policy(game, policy, config.seed, rows=POLICY_ROWS, within_s=10.0)


def run_check(config: Path | None, overrides: Sequence[str], *, json: bool) -> int:
    """Carry out `quintet check`; returns the exit code."""
    settings = load_config(config, overrides)
    found = check(settings)
    if json:
        findings = [asdict(finding) for finding in found.findings]
        answer(json_module.dumps({"game": settings.game, "passed": found.passed, "findings": findings}))
        return DONE if found.passed else USAGE
    for finding in found.findings:
        say(str(finding))
    warned = sum(finding.severity == "warning" for finding in found.findings)
    verdict = "can be trained" if found.passed else "cannot be trained"
    counts = (("error", len(found.findings) - warned), ("warning", warned))
    say(f"{settings.game} {verdict}: " + ", ".join(f"{n} {what}{'s' * (n != 1)}" for what, n in counts))
    return DONE if found.passed else USAGE
