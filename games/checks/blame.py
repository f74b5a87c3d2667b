"""Where in the user's own code a fault lies: `my_env.py:34: MyEnv.step`, found through wrappers and tracebacks."""

from __future__ import annotations

import inspect
import os
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from quintet.games.api import GameCodeError, GameDataError, GameError
from quintet.games.checks.data import Mismatch, described

_QUINTET = Path(__file__).absolute().parents[2]  # through whose links every module of ours is imported
OURS = tuple(f"{folder.absolute()}{os.sep}" for folder in (_QUINTET, *map(Path.resolve, _QUINTET.iterdir())))
HERE = Path.cwd()  # before any game is built, which may go elsewhere
STANDARD = os.path.realpath(sysconfig.get_paths()["stdlib"]) + os.sep
LIBRARIES = ("gymnasium", "pettingzoo", "numpy", "supersuit", "shimmy")  # they hand on what others' code does
INNER = ("env", "_env", "aec_env", "par_env")  # where wrappers keep what they are laid around
CHANGES = {"step": ("observation", "observations", "reward", "rewards"), "reset": ("observation", "observations")}
RESET = "def reset(self, *, seed=None, options=None): super().reset(seed=seed); ... return observation, {}"
STEP = "return observation, reward, terminated, truncated, info"


def place(thing: Any, method: str = "") -> str:
    """`path:line: Class.method` of the outermost layer around `thing` that is the user's own, else of the innermost.

    Args:
        thing: an environment, in wrappers or not, a `VectorGame`, or a function that makes one.
        method: `step`, `reset` ...; without it, or where the class has none, the class itself.
    """
    layers = list(_layers(thing))
    for layer in layers:
        if (found := _own_place(layer, method)) is not None and _rank(found[0]) == 0:
            return _written(*found)
    found = _own_place(layers[-1], method)
    return f"{type(layers[-1]).__name__}.{method}".rstrip(".") if found is None else _written(*found)


def raised_at(error: BaseException, *, packages: bool = True) -> str | None:
    """`path:line` of the innermost frame of the traceback that is the user's own code; None where no frame is.

    With `packages` an installed package's code counts as well, where no frame is the user's.
    """
    frames = [(_rank(frame.filename), frame) for frame in traceback.extract_tb(error.__traceback__)]
    for rank in (0, 1) if packages else (0,):
        for found, frame in reversed(frames):
            if found == rank:
                return f"{_short(frame.filename)}:{frame.lineno}"
    return None


def blamed(error: BaseException, thing: Any, method: str, game: str, at: str) -> GameError:
    """The error that says in one line what the user's code did wrong, and where.

    Args:
        error: what came of calling `method` or of reading what it returned.
        thing: the environment.
        method: of the environment.
        game: the game's name.
        at: which slot, row and agent.
    """
    if isinstance(error, GameError):
        return error
    where = f"(game {game!r}, {at})"
    if isinstance(error, Mismatch):
        return GameDataError(f"{place(thing, error.method or method)}: {error} {where}")
    says = described_error(error)
    if f"{method}()" in says and isinstance(error, TypeError) and "argument" in says:
        hint = f"write {RESET}" if method == "reset" else "write def step(self, action)"
        return GameDataError(f"{place(thing, method)} cannot be called: {says}; {hint} {where}")
    line = raised_at(error)
    if line is None and "unpack" in says:  # a wrapper took apart what the environment returned
        hint = STEP if method == "step" else "return observation, info"
        return GameDataError(f"{place(thing, method)} returns another number of values: {says}; write {hint} {where}")
    if isinstance(error, SystemExit):
        return GameCodeError(
            f"{line or place(thing, method)}: {_bare(thing, method)} ended the program ({says}); raise an error that "
            f"says what is wrong, or return terminated {where}"
        )
    if line is None:
        return GameDataError(f"{place(thing, method)}: to call it or to read what it returned failed: {says} {where}")
    return GameCodeError(f"{line}: {_bare(thing, method)} raised {says} {where}")


def not_made(game: str, error: BaseException) -> GameError:
    """Why an environment could not be made: arguments that it does not take, or what its own code raised."""
    if isinstance(error, GameError):
        return error
    line, says = raised_at(error), described_error(error)
    if line is None or (isinstance(error, TypeError) and "argument" in says):
        return GameError(f"game {game!r} does not take these kwargs: {says.removeprefix('TypeError: ')}")
    return GameCodeError(f"{line}: making the environment raised {says} (game {game!r})")


def not_imported(what: str, error: BaseException) -> GameError:
    """Why a module could not be imported: it is no Python, or what its own code raised.

    Args:
        what: what is imported, for the message: `game 'my_module:MyEnv'`.
        error: what came of it.
    """
    line, says = raised_at(error), described_error(error)
    if isinstance(error, SyntaxError) and error.filename:
        line, says = f"{_short(error.filename)}:{error.lineno}", f"{type(error).__name__}: {error.msg}"
    return GameCodeError(f"{line}: importing the module raised {says} ({what})" if line else f"{what}: {says}")


def described_error(error: BaseException) -> str:
    """An exception in one line: its type and what it says; where it says nothing, the line that raised it."""
    text = " ".join(str(error).split())
    if not text and (frames := traceback.extract_tb(error.__traceback__)):
        text = frames[-1].line or ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def five(returned: Any) -> tuple[Any, Any, Any, Any, Any]:
    """What `step` returned, which must be five values.

    Raises:
        Mismatch: it is something else.
    """
    if isinstance(returned, tuple | list) and len(returned) == 5:
        return tuple(returned)
    old = " (the old API: its done is terminated now)" if _count(returned) == 4 else ""
    raise Mismatch(f"returned {_how_many(returned)}{old}; expected five values: {STEP}")


def two(returned: Any) -> tuple[Any, Any]:
    """What `reset` returned, which must be two values, the second a dict.

    Raises:
        Mismatch: it is something else.
    """
    if isinstance(returned, tuple | list) and len(returned) == 2 and isinstance(returned[1], dict):
        return returned[0], returned[1]
    raise Mismatch(f"returned {_how_many(returned)}; expected two values: return observation, {{}}")


def each(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a parallel environment returned, each a dict with something for each agent.

    Raises:
        Mismatch: one is none.
    """
    for position, value in enumerate(values):
        if type(value) is not dict and not isinstance(value, Mapping):
            raise Mismatch(f"value {position} of what it returned is {described(value)}; expected a dict by agent")
    return values


def _count(returned: Any) -> int | None:
    return len(returned) if isinstance(returned, tuple) else None


def _how_many(returned: Any) -> str:
    if (n := _count(returned)) is None:
        return f"{described(returned)} alone"
    return f"{n} values ({', '.join(type(value).__name__ for value in returned)})"


def _layers(thing: Any) -> Iterator[Any]:
    """The layers around an environment, the outermost first, and the environment last."""
    seen: set[int] = set()
    while thing is not None and id(thing) not in seen:
        seen.add(id(thing))
        yield thing
        thing = next((vars(thing)[name] for name in INNER if name in getattr(thing, "__dict__", {})), None)


def _bare(thing: Any, method: str) -> str:
    """The class and the method alone, without the file."""
    return place(thing, method).rpartition(": ")[2]


def _own_place(layer: Any, method: str) -> tuple[str, int, str] | None:
    """File, line and name of a layer's method, or of what it changes about it, or of its class."""
    kind = layer if inspect.isroutine(layer) or isinstance(layer, type) else type(layer)
    if inspect.isroutine(kind):
        return _code_place(kind, getattr(kind, "__qualname__", "function"))
    found = None
    for name in (method, *CHANGES.get(method, ())):
        function = inspect.getattr_static(kind, name, None) if name else None
        found = _code_place(function, f"{kind.__name__}.{name}")
        if found is not None and _rank(found[0]) == 0:
            return found
    try:
        file, line = inspect.getsourcefile(kind), inspect.getsourcelines(kind)[1]
    except (OSError, TypeError):  # built in, or typed into a prompt
        return found
    return (file, line, kind.__name__) if file and (found is None or _rank(file) == 0) else found


def _code_place(function: Any, name: str) -> tuple[str, int, str] | None:
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    return None if code is None else (code.co_filename, code.co_firstlineno, name)


def _rank(file: str) -> int:
    """0 for the user's own files, 1 for an installed package that brings environments, 2 for everybody else's."""
    path = os.path.realpath(file)
    if path.startswith(OURS) or file.startswith("<"):
        return 2
    parts = Path(path).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts:
            return 2 if parts[parts.index(folder) + 1] in LIBRARIES else 1
    return 2 if path.startswith(STANDARD) else 0


def _written(file: str, line: int, name: str) -> str:
    return f"{_short(file)}:{line}: {name}"


def _short(file: str) -> str:
    """The path from here, where the file lies in this folder; else all of it."""
    path = Path(os.path.realpath(file))
    try:
        return str(path.relative_to(HERE))
    except ValueError:
        return str(path)
