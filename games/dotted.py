"""Loading what a configuration names as `package.module:name`, with errors that a user can act on."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from quintet.games.api import MissingExtraError, UnknownGameError
from quintet.games.checks.blame import not_imported, raised_at

EXTRAS = {  # package -> extra of this project
    "pettingzoo": "pettingzoo",
    "pygame": "pettingzoo",
    "popgym": "popgym",
    "pyspiel": "openspiel",
}


def load(name: str, *, what: str) -> Any:
    """The object that `module:name` names; modules in the current directory can be loaded, too.

    Raises:
        UnknownGameError: it is not of that form, or the module or the name in it does not exist.
        MissingExtraError: the module needs a package that is not installed.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UnknownGameError(f'{what} {name!r} is not of the form "module:name"')
    module = import_module(module_name, what=f"{what} {name!r}")
    if not hasattr(module, attribute):
        hint = nearest(attribute, [known for known in vars(module) if not known.startswith("_")])
        raise UnknownGameError(f"{what} {name!r}: module {module_name} has no {attribute!r}{hint}")
    return getattr(module, attribute)


def import_module(module_name: str, *, what: str) -> ModuleType:
    """Import a module that a user named; the current directory is searched last.

    Raises:
        UnknownGameError: there is no such module.
        MissingExtraError: the module, or a package that it imports, is not installed.
        GameCodeError: the module's own code is no Python, or raises.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing not in EXTRAS and (module_name == missing or module_name.startswith(f"{missing}.")):
            raise UnknownGameError(
                f"{what}: there is no module {missing!r}; check the spelling, install the package that has it, or run "
                "in the folder where it lies"
            ) from error
        raise MissingExtraError(f"{what} needs the package {missing!r}: {install_hint(missing)}") from error
    except ImportError as error:  # a module that moved away says so itself
        place = f"{line}: " if (line := raised_at(error)) else ""
        raise MissingExtraError(f"{place}{what} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:
        raise not_imported(what, error) from error


def install_hint(package: str) -> str:
    """The command that brings a missing package: an extra of this project where one has it."""
    top = package.partition(".")[0]
    return f'pip install "quintet[{EXTRAS[top]}]"' if top in EXTRAS else f"pip install {top}"


def nearest(name: str, known: Iterable[str], *, prefix: str = "", cutoff: float = 0.6) -> str:
    """`; did you mean 'a' or 'b'?`, each with the prefix, or nothing where no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=cutoff)
    return f"; did you mean {' or '.join(repr(prefix + match) for match in close)}?" if close else ""
