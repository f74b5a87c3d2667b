"""`@kernel`: numba's `njit` with a cache on disk that knows when it is stale, and says when one has to wait for it.

numba's own cache looks only at the file of a function, not at the files of what it calls nor at the numbers that were
compiled into it, so each version of the game's code has a cache folder of its own, named by a hash. Where no folder can
be written, kernels are compiled anew by every process.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core.config import _OptLevel
from numba.core.registry import cpu_target
from numba.extending import typeof_impl

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
COMPILE_S = 20  # about, on a slow core
KEPT_FOLDERS = 3
_HERE = Path(__file__).resolve().parent.parent  # all of the skirmish: its folders import one another's kernels
_NUMBERS = ("rules.py", "state.py", "tables.py")  # compiled in as constants
_config: Any = numba.config  # its attributes are made at run time, which type checkers do not see
_njit: Any = numba.njit
_typeof: Any = numba.typeof
_types: Any = numba.types
_level: Any = _OptLevel
_NOT_AT_ALL = _level(0)  # of optimization
_log = logging.getLogger(__name__)
_told: set[str] = set()


class Kernel:
    """A function that is compiled twice if need be: to be called by Python, and to be called by other kernels.

    For Python it gets the code that takes Python's objects apart, full optimization, and a place in the cache. For
    other kernels it gets none of these: whoever calls it has its code linked in and optimizes all of it together, once.
    That makes the compilation several times faster.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.inner = _njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
        self._compile, self._find = self.inner.compile, self.inner.get_call_template
        self.inner.compile, self.inner.get_call_template = self._compile_inner, self._find_inner
        self._first = True
        before = _config.CACHE_DIR
        if _FOLDER is None:
            self.entry = _njit(function)
            return
        _config.CACHE_DIR = str(_FOLDER)  # read when the function is decorated
        try:
            self.entry = _njit(cache=True)(function)
        finally:
            _config.CACHE_DIR = before

    def __call__(self, *args: Any) -> Any:
        """Compile for these types if that was not done before, and run."""
        if self._first:
            self.prepare(*args)
        return self.entry(*args)

    def prepare(self, *args: Any) -> None:
        """Compile for the types of these arguments, or load what was compiled, without running.

        Processes take turns at one kernel and compile different ones at the same time.
        """
        with _in_turn(self.entry.py_func.__name__):
            self.entry.compile(tuple(_typeof(arg) for arg in args))
        self._first = False

    def _find_inner(self, args: Any, keywords: Any) -> Any:
        """Whole numbers of any width are passed as int64, or there would be a version for every mix of them."""
        return self._find(tuple(_widened(arg) for arg in args), keywords)

    def _compile_inner(self, signature: Any) -> Any:
        with _no_machine_code():
            return self._compile(signature)


@contextmanager
def _in_turn(name: str) -> Iterator[None]:
    """One process at a time compiles what is called so."""
    if _FOLDER is None:
        yield
        return
    with (_FOLDER / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _no_machine_code() -> Iterator[None]:
    """Compile as far as others need it to link it in: nothing is optimized, turned into machine code or loaded."""
    codegen = cpu_target.target_context.codegen()
    engine, level = codegen._engine, _config.OPT
    if engine.__dict__.get("add_module") is _nothing:  # on behalf of one that is being compiled like this itself
        yield
        return
    _config.OPT = _NOT_AT_ALL
    engine.add_module = engine.finalize_object = codegen.set_env = _nothing
    try:
        yield
    finally:
        _config.OPT = level
        del engine.add_module, engine.finalize_object, codegen.set_env


def _nothing(*args: Any) -> None:
    """In place of what hands code to the processor."""


def _widened(argument: Any) -> Any:
    """The type as which a kernel gets an argument of this type from another."""
    plain = _types.unliteral(argument)
    return _types.int64 if isinstance(plain, _types.Integer) and plain.signed else plain


@typeof_impl.register(Kernel)
def _typeof_kernel(value: Kernel, context: Any) -> Any:
    return numba.types.Dispatcher(value.inner)


def passed_as_record(cls: type[T]) -> type[T]:
    """Kernels get the address of the one record that instances keep in `record` (and its bytes in `data`).

    A tuple of dozens of arrays would be taken apart, and passed array by array, at every call of a kernel by another.
    """
    typeof_impl.register(cls)(lambda value, context: numba.from_dtype(value.record.dtype))
    return cls


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` at its first call, with exact floating point, and keep the result on disk if possible."""
    return cast(Callable[P, R], Kernel(function))


def tell_if_slow() -> bool:
    """Say once in a process that the next calls compile for a while, if they will; whether they will, for the cache."""
    if _FOLDER is None:
        _tell(
            f"no folder for compiled kernels can be written, so every process compiles them, about {COMPILE_S} s; "
            "NUMBA_CACHE_DIR may name one"
        )
    elif next(_FOLDER.rglob("*.nbc"), None) is None:
        _tell(f"compiling the game's kernels, once; about {COMPILE_S} s")
        return True
    return False


def source_hash() -> str:
    """16 hex digits over the sources that decide what the kernels do."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_HERE.rglob("*.py")):
        source = path.read_bytes()
        if path.name in _NUMBERS or b"@kernel" in source:
            digest.update(str(path.relative_to(_HERE)).encode() + b"\0" + source)
    return digest.hexdigest()[:16]


def _tell(message: str) -> None:
    if message not in _told:
        _told.add(message)
        _log.warning("skirmish: %s", message)


def _cache_folder() -> Path | None:
    """The folder of this version of the code, made if need be; None if none can be written."""
    named = _config.CACHE_DIR
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quintet"
    for parent in [Path(named)] if named else [_HERE / "__pycache__", user]:
        folder = parent / f"kernels-{source_hash()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f"probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError:
            continue
        _forget_old(parent, folder)
        return folder
    return None


def _forget_old(parent: Path, current: Path) -> None:
    """Keep the folders of the last few versions. A process that still runs one has it in memory."""
    others = [folder for folder in parent.glob("kernels-*") if folder != current]
    others.sort(key=_modified)
    for folder in others[: max(len(others) - KEPT_FOLDERS + 1, 0)]:
        shutil.rmtree(folder, ignore_errors=True)


def _modified(folder: Path) -> float:
    """When it was last written to; long ago if another process has just removed it."""
    return folder.stat().st_mtime if folder.exists() else 0.0


_FOLDER = _cache_folder()
