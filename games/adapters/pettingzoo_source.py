"""Where PettingZoo environments come from: a module's `parallel_env` or `env`, or a class or function by its name."""

from __future__ import annotations

import pkgutil
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from quintet.games.adapters.pettingzoo import ParallelGame, PettingZooGame, TurnGame
from quintet.games.adapters.seats import seats_of
from quintet.games.adapters.wrappers import NamedWrapper, named_wrappers
from quintet.games.api import GameError, MissingExtraError, UnknownGameError
from quintet.games.checks.blame import not_made, place
from quintet.games.copies import copies
from quintet.games.dotted import import_module, load, nearest

# Two-player games whose rewards are known to sum to zero. Hanabi stands in the same folder and is cooperative.
ZERO_SUM_CLASSICS = frozenset(
    ("chess", "connect_four", "go", "leduc_holdem", "rps", "texas_holdem", "texas_holdem_no_limit", "tictactoe")
)
VERSION = re.compile(r"_v\d+$")


def make_pettingzoo(
    module_name: str,
    n_games: int,
    seed: int,
    *,
    teams: Sequence[Sequence[str]] | None = None,
    zero_sum: bool | None = None,
    wrappers: Sequence[Any] = (),
    leave_out: Sequence[str] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> PettingZooGame:
    """Build the game from a module with a function `parallel_env` (taken where there is one) or `env`, or by name.

    Args:
        module_name: such as `pettingzoo.classic.tictactoe_v3`, or `my_module:MyEnv`, a class or function.
        n_games: slots.
        seed: for the environments that show their action mask only after a reset.
        teams: names of agents, or patterns (`red_*`), per team, of one size; if not given, one team per agent.
        zero_sum: rewards sum to zero in every row; if it is not given, true for the two-player classics alone.
        wrappers: see `games.adapters.wrappers.named_wrappers`; they are laid around each PettingZoo environment.
        leave_out: entries of the observation that the policy is not shown, such as a text.
        kwargs: passed to the environment's function.

    Raises:
        UnknownGameError: no such module, or it holds no environment.
        MissingExtraError: PettingZoo, or what the environment needs, is not installed.
        UnsupportedSpaceError: spaces that cannot be served, or that differ between agents.
        GameError: the teams do not fit the agents.
    """
    name = f"pettingzoo:{module_name}"
    make_env, layers = _factory(name, module_name), named_wrappers(wrappers)
    with copies(n_games, lambda: _make_env(name, make_env, layers, kwargs or {})) as envs:
        if zero_sum is None:
            classic = re.fullmatch(r"pettingzoo\.classic\.(\w+)_v\d+", module_name)
            two = len(envs[0].possible_agents) == 2 and (teams is None or len(teams) == 2)
            zero_sum = classic is not None and classic[1] in ZERO_SUM_CLASSICS and two
        return game_of(name, envs, seed, teams=teams, zero_sum=zero_sum, leave_out=leave_out)


def game_of(
    name: str,
    envs: Sequence[Any],
    seed: int,
    *,
    teams: Sequence[Sequence[str]] | None = None,
    zero_sum: bool | None = None,
    leave_out: Sequence[str] = (),
) -> PettingZooGame:
    """The game that PettingZoo environments make, one to a slot, turn-based or parallel.

    Raises:
        GameError: they do not say who may play, or the teams do not fit the agents.
    """
    if not getattr(envs[0], "possible_agents", None):
        raise GameError(
            f"{place(envs[0])} does not say its possible_agents; the number of agents must be known beforehand: write "
            f'possible_agents = ["a", "b"] (game {name!r})'
        )
    kind = TurnGame if hasattr(envs[0], "agent_iter") else ParallelGame
    seats = seats_of(name, list(envs[0].possible_agents), teams)
    return kind(name, envs, seats, zero_sum=bool(zero_sum), seed=seed, leave_out=leave_out)


def _factory(name: str, module_name: str) -> Callable[..., Any]:
    """What makes an environment: the object that `module:name` names, or the module's own `parallel_env` or `env`."""
    module_part, _, attribute = module_name.partition(":")
    module = _environment_module(name, module_part)
    if attribute:
        factory: Any = load(module_name, what=f"game {name!r}: environment")
        if not callable(factory):
            raise UnknownGameError(
                f"game {name!r} is a {type(factory).__name__}; expected a class or a function that makes an environment"
            )
        return factory  # type: ignore[no-any-return]
    for known in ("parallel_env", "env"):
        if callable(factory := getattr(module, known, None)):
            return factory  # type: ignore[no-any-return]
    classes = _classes(module)
    hint = f"; it has {', '.join(classes)}: write --game {name}:{classes[0]}" if classes else _versions(module)
    raise UnknownGameError(f"game {name!r}: module {module_name} has neither `env` nor `parallel_env`{hint}")


def _classes(module: ModuleType) -> list[str]:
    """The names of the environments that a module has."""
    return [part for part, kind in vars(module).items() if is_pettingzoo(kind) and kind.__module__ == module.__name__]


def _versions(module: ModuleType) -> str:
    """The environments with a version in their names that lie in a package, or beside a module of one."""
    within, near = module.__name__, list(getattr(module, "__path__", ()))
    found = [f"{within}.{found.name}" for found in pkgutil.iter_modules(near) if VERSION.search(found.name)]
    if found:
        return f"; it has {', '.join(found)}: write --game pettingzoo:{found[0]}"
    above, _, _ = within.rpartition(".")
    beside = pkgutil.iter_modules(getattr(sys.modules.get(above), "__path__", ()))
    return nearest(within, [f"{above}.{found.name}" for found in beside if VERSION.search(found.name)])


def is_pettingzoo(kind: Any) -> bool:
    """Whether this is one of PettingZoo's classes of environments."""
    from pettingzoo import AECEnv, ParallelEnv

    return isinstance(kind, type) and issubclass(kind, AECEnv | ParallelEnv)


def _environment_module(name: str, module_name: str) -> Any:
    library = import_module("pettingzoo", what=f"game {name!r}")
    try:
        with warnings.catch_warnings():  # 1.27 would rather be asked through its registry, which 1.25 does not have
            warnings.filterwarnings("ignore", "The old environment creation API", DeprecationWarning)
            return import_module(module_name, what=f"game {name!r}")
    except UnknownGameError as error:
        files = Path(library.__file__ or "").parent.glob("*/*_v*.py")
        hint = nearest(module_name, [f"pettingzoo.{file.parent.name}.{file.stem}" for file in files], cutoff=0.9)
        raise UnknownGameError(f"{error}{hint}") from error
    except MissingExtraError as error:
        family = re.match(r"pettingzoo\.(\w+)\.", module_name)
        if family is None or not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        raise MissingExtraError(
            f'{error}, or all that its family needs: pip install "pettingzoo[{family[1]}]"'
        ) from error


def _make_env(name: str, make_env: Any, layers: Sequence[NamedWrapper], kwargs: Mapping[str, Any]) -> Any:
    try:
        env = make_env(**kwargs)
    except ImportError as error:
        raise MissingExtraError(f"game {name!r}: {error}") from error
    except (Exception, SystemExit) as error:
        raise not_made(name, error) from error
    for layer in layers:
        env = layer.apply(env)
    return env
