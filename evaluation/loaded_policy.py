"""A trained policy to play with by oneself: `quintet.load_policy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quintet.control.errors import UsageError
from quintet.evaluation.entrants import Contestant, policy_of, read_contestant
from quintet.evaluation.players import PolicyPlayer
from quintet.games.actions import for_game
from quintet.games.adapters.own_rows import OwnRows, own_rows
from quintet.games.api import ACTING, Array, GameDataError, Observation
from quintet.model.distributions import DiagonalGaussian, MaskedCategorical
from quintet.model.policy import Acted, Policy


def load_policy(path: str | Path, *, seed: int = 1, greedy: bool = False, wrapped: bool = False) -> LoadedPolicy:
    """The policy of a checkpoint, ready to play.

    Args:
        path: a checkpoint folder, a run folder or a run's name: then its newest checkpoint.
        seed: of the draws of its actions.
        greedy: take the likeliest action instead of a drawn one.
        wrapped: the observations will come from an environment that is in the run's wrappers already
            (`game_options.wrappers`). Without it they are laid around whatever the bare environment shows.

    Raises:
        UsageError: there is no such checkpoint.
        CheckpointError: it is damaged, or was trained on another game than the one of this name is now.
        ConfigError: this Quintet cannot read the configuration that stands in it.
        GameError: its game cannot be made.
    """
    contestant = read_contestant(Path(path))
    config = contestant.config
    game, own = own_rows(config.game, config.game_options, wrapped=wrapped)
    return LoadedPolicy(contestant, policy_of(contestant, game), own, seed=seed, greedy=greedy)


class LoadedPolicy:
    """Plays whole games, with a memory of its own for each.

        policy = quintet.load_policy("runs/NAME")
        observation, _ = env.reset()
        policy.reset()
        action = policy.act(observation)

    It reads what the environment itself shows and answers with what the environment's `step` takes:

    * of Gymnasium, one observation -> one action; after `reset(n_games)` those of a vector environment: arrays
      `[n_games, ...]`;
    * of PettingZoo, a dict by agent, as the environment in the run's wrappers shows it -> the actions of who acts, by
      agent. In a turn-based environment show it at every move what every agent observes, and say whose turn it is:
      `act({a: env.observe(a) for a in env.agents}, acting=env.agent_selection)`;
    * of any game, an observation of `quintet.make_game`'s `VectorGame` -> what its `step` takes.

    Attributes:
        spec: the game, as the policy sees it.
        config: of the run that trained it.
        version: of its weights.
        agent_steps: that they have learned from.
    """

    def __init__(self, contestant: Contestant, policy: Policy, own: OwnRows | None, *, seed: int, greedy: bool) -> None:
        self.config, self.spec = contestant.config, policy.spec
        self.version, self.agent_steps = contestant.info.version, contestant.info.agent_steps
        self._policy, self._own, self._greedy = policy, own, greedy
        self._generator = torch.Generator().manual_seed(seed)
        self._player: PolicyPlayer | None = None  # as many games as the first row after `reset` has
        self.reset()

    def reset(self, n_games: int | None = None) -> None:
        """New games begin, and what was remembered is forgotten. The next draws go on from the last.

        Args:
            n_games: environments side by side; None is one alone, whose observations have no axis for it.

        Raises:
            GameError: there cannot be so many.
        """
        if self._own is not None:
            self._own.begin(n_games)
        self._player = None

    def act(self, observation: Any, *, first: Any = None, info: Any = None, acting: Any = None) -> Any:
        """The actions for one row of every game.

        Args:
            observation: of this row; see the class.
            first: bool [n_games], or one bool for one game: where this observation begins a new game; after `reset`
                every first one does.
            info: what the environment returned beside it: needed where it holds the action masks.
            acting: PettingZoo's agents whose turn it is, one or several; all that are shown something, if left out.

        Returns:
            What the environment's `step` takes: an action of its action space, Box actions clipped to their box.

        Raises:
            GameDataError: an observation is not what its space says.
            GameError: something is missing, or cannot be read.
            UsageError: another number of games than before.
        """
        whole = isinstance(observation, dict) and ACTING in observation  # a VectorGame's
        own = None if whole else self._environments()
        begins = self._begins(own.games if own else len(observation[ACTING]), first)
        if own is not None:
            row = own.read(observation, begins, info, acting)
        else:
            missing = [
                x for x in self.spec.observation_space if x not in observation and self.spec.uses.get(x) != "critic"
            ]
            if missing:
                raise GameDataError(f"{self.spec.name}: the observation has no {missing[0]!r}; hand on all of it")
            row = {name: array.reshape(-1, *array.shape[2:]) for name, array in observation.items()}
        player = self._player = self._player or self._seated(row)
        at = np.repeat(begins, self.spec.teams)
        player.actor.forget_action(at)
        chosen = player.act(row, at, np.zeros(len(at), bool))
        return for_game(chosen, self.spec) if own is None else own.actions(chosen)

    @property
    def value(self) -> Array:
        """What the last row is worth, f32 [n_games, teams, agents], in units of the reward.

        What only the critic sees has to be in the observation, where a game has such entries; else it is the mean.
        """
        return self._by_game(self._acted.value)

    @property
    def probabilities(self) -> dict[str, Array]:
        """Of the last row, per Discrete head f32 [n_games, teams, agents, choices]; those of illegal choices are 0.

        Where the action taken does not read a head, they are those beside the likeliest primary action that does.
        """
        views = self._seat.heads()
        return {
            name: self._by_game(view.distribution.log_probs[0].exp())
            for name, view in views.items()
            if isinstance(view.distribution, MaskedCategorical)
        }

    @property
    def gaussians(self) -> dict[str, tuple[Array, Array]]:
        """Of the last row, per Box head: means f32 [n_games, teams, agents, dims] and standard deviations [dims]."""
        views = self._seat.heads()
        return {
            name: (self._by_game(view.distribution.mode()[0]), view.distribution.spread().detach().numpy())
            for name, view in views.items()
            if isinstance(view.distribution, DiagonalGaussian)
        }

    @property
    def memory(self) -> Array:
        """The LSTM's state after the last row, f32 [n_games, teams, agents, 2, units]: its output, and its cell."""
        return self._by_game(self._acted.state)

    @property
    def _seat(self) -> PolicyPlayer:
        if self._player is None:
            raise UsageError("nothing was played yet: call act first")
        return self._player

    @property
    def _acted(self) -> Acted:
        acted = self._seat.acted
        assert acted is not None, "a seat is taken where somebody acts"
        return acted

    def _by_game(self, streams: Tensor) -> Array:
        """[B, A, ...] -> [n_games, teams, A, ...]."""
        array: Array = streams.detach().numpy()
        return array.reshape(-1, self.spec.teams, *array.shape[1:])

    def _environments(self) -> OwnRows:
        if self._own is None:
            raise UsageError(
                f"{self.config.game} is no environment of Gymnasium or PettingZoo: expected an observation of the "
                f"VectorGame that quintet.make_game({self.config.game!r}, ...) makes"
            )
        return self._own

    def _begins(self, games: int, first: Any) -> Array:
        """Bool [n_games]."""
        if self._player is None:
            return np.ones(games, np.bool_)
        known = len(self._player.actor.state) // self.spec.teams
        if games != known:
            raise UsageError(f"this is a row of {games} games, and the last was of {known}: call reset between them")
        begins = np.zeros(games, np.bool_) if first is None else np.asarray(first, np.bool_)
        if begins.shape != (games,) and begins.size != games:
            raise UsageError(f"this is a row of {games} games, and first is {begins.shape}; expected ({games},)")
        return begins.reshape(games)

    def _seated(self, row: Observation) -> PolicyPlayer:
        privileged = [name for name, use in self.spec.uses.items() if use == "critic"]
        player = PolicyPlayer(
            self._policy,
            self.config.chunk_spec(self.spec),
            len(row[ACTING]),
            seed=0,
            greedy=self._greedy,
            critic=all(name in row for name in privileged),
        )
        player.actor.generator = self._generator
        return player
