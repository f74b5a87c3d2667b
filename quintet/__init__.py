"""Quintet: recurrent PPO by self-play. What a program of one's own needs of it, under one name.

    import quintet

    training = quintet.train("cartpole_memory.toml", ["agent_steps=20_000"])
    training.wait()
    policy = quintet.load_policy(training.folder)
    action = policy.act(observation)  # the environment's own

Importing it loads nothing heavy: each name loads what it needs when it is asked for.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quintet.cluster.training import Training, train
    from quintet.control.config import RunConfig, load_config
    from quintet.control.config_reader import ConfigError
    from quintet.control.errors import RunFailedError, UsageError
    from quintet.evaluation.evaluate import PlayedGame, evaluate, play
    from quintet.evaluation.loaded_policy import LoadedPolicy, load_policy
    from quintet.games.api import GameError, GameSpec, Transition, VectorGame
    from quintet.games.contract import check_game
    from quintet.games.registry import make_game
    from quintet.optimizer.checkpoint import CheckpointError
else:  # unseen by type checkers, which else would take every misspelt name for one of any type

    def __getattr__(name: str) -> Any:
        """A public name, from the module that defines it."""
        if name not in _HOMES:
            raise AttributeError(f"module 'quintet' has no attribute {name!r}; it has {', '.join(__all__)}")
        value = globals()[name] = getattr(_import_module(_HOMES[name]), name)
        return value


_MODULES = {
    "quintet.cluster.training": ("Training", "train"),
    "quintet.control.config": ("RunConfig", "load_config"),
    "quintet.control.config_reader": ("ConfigError",),
    "quintet.control.errors": ("RunFailedError", "UsageError"),
    "quintet.evaluation.evaluate": ("PlayedGame", "evaluate", "play"),
    "quintet.evaluation.loaded_policy": ("LoadedPolicy", "load_policy"),
    "quintet.games.api": ("GameError", "GameSpec", "Transition", "VectorGame"),
    "quintet.games.contract": ("check_game",),
    "quintet.games.registry": ("make_game",),
    "quintet.optimizer.checkpoint": ("CheckpointError",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: RUF022  (in the order in which a reader of docs/reference.md meets them)
    "train",
    "Training",
    "load_policy",
    "LoadedPolicy",
    "evaluate",
    "play",
    "PlayedGame",
    "make_game",
    "check_game",
    "GameSpec",
    "VectorGame",
    "Transition",
    "load_config",
    "RunConfig",
    "UsageError",
    "ConfigError",
    "GameError",
    "CheckpointError",
    "RunFailedError",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
