"""Every kind of game keeps the contract of `games/api.py`, and every rule of the contract can be broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import tests.envs.game_zoo
from quintet.games.api import GameContractError, GameError, GameSpec, Observation, Transition, VectorGame
from quintet.games.contract import check_game
from quintet.games.counting import CountingGame, CountingOptions
from quintet.games.registry import make_game
from tests.support.needs import extra

HIDE = {"wrappers": [{"name": "quintet.games.adapters.wrappers:mask_observation", "hide": [1, 3]}]}
PAIRS = {"teams": [["a", "c"], ["b", "d"]]}
EVERYTHING = {
    "teams": 2,
    "agents_per_team": 3,
    "extra_steps": 5,
    "ends": "alternate",
    "box_dims": 2,
    "units": 4,
    "kinds": 3,
    "shared": 2,
    "masks": True,
    "turns": True,
    "leaver_row": 3,
}


def _played(name: str, options: dict[str, Any], rows: int | None, *, chance: bool) -> None:
    for package in ("popgym", "pettingzoo"):
        if name.startswith((f"{package}:", f"gymnasium:{package}:")):
            extra(package)
    check_game(lambda n_games: make_game(name, n_games, seed=0, options=options), rows=rows, random=chance)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "rows"),
    [
        ("gymnasium:CartPole-v1", {}, 200),
        ("gymnasium:CartPole-v1", HIDE, 200),
        ("gymnasium:Taxi-v4", {}, None),
        ("gymnasium:Pendulum-v1", {}, None),
        ("gymnasium:Blackjack-v1", {}, 40),
        ("gymnasium:zoo/Nested-v0", {}, 40),
        ("gymnasium:zoo/Image-v0", {}, None),
        ("gymnasium:zoo/Masked-v0", {}, 60),
        ("gymnasium:zoo/SameStep-v0", {}, None),
        ("gymnasium:popgym:popgym-RepeatFirstEasy-v0", {}, 120),
        ("pettingzoo:zoo_duel_v0", {}, 30),
        ("pettingzoo:zoo_duel_v0", PAIRS, 30),
        ("counting", {"extra_steps": 9}, None),
        ("counting", EVERYTHING, None),
        ("tests.envs.game_zoo:make_lottery", {"choices": 5}, None),
    ],
)
def test_a_game_with_chance_keeps_the_contract(name: str, options: dict[str, Any], rows: int | None) -> None:
    _played(name, options, rows, chance=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pettingzoo:pettingzoo.classic.tictactoe_v3", {}),
        ("pettingzoo:pettingzoo.classic.connect_four_v3", {}),
        ("pettingzoo:pettingzoo.classic.rps_v2", {}),
        ("pettingzoo:tests.envs.countdown_v0", {}),
        ("counting", {}),
        ("counting", {"agents_per_team": 2, "turns": True, "ends": "truncated", "leaver_row": 2}),
        ("counting", {"teams": 3, "masks": True, "choices": 2}),
    ],
)
def test_a_game_without_chance_keeps_the_contract(name: str, options: dict[str, Any]) -> None:
    _played(name, options, 90, chance=False)


class Broken:
    """The counting game, with one thing bent."""

    def __init__(
        self,
        n_games: int,
        see: Callable[[Observation], Observation] | None = None,
        end: Callable[[Transition], Transition] | None = None,
        **spec: Any,
    ) -> None:
        options = CountingOptions(teams=2, agents_per_team=2, masks=True, kinds=3, leaver_row=3, extra_steps=3)
        self.game = CountingGame(n_games, options)
        self.spec: GameSpec = dataclasses.replace(self.game.spec, **spec)
        self.n_games = n_games
        self._see, self._end = see or (lambda observation: observation), end or (lambda result: result)

    def reset(self, seed: int) -> Observation:
        return self._see(self.game.reset(seed))

    def step(self, actions: dict[str, Any]) -> Transition:
        result = self._end(self.game.step(actions))
        return dataclasses.replace(result, observation=self._see(result.observation))

    def close(self) -> None:
        self.game.close()


def _with(name: str, change: Callable[[Any], Any]) -> Callable[[Observation], Observation]:
    return lambda observation: {**observation, name: change(observation[name])}


def _but(name: str, change: Callable[[Transition], Any]) -> Callable[[Transition], Transition]:
    return lambda result: dataclasses.replace(result, **{name: change(result)})


def _zeros(array: Any) -> Any:
    return np.zeros_like(array)


def _some(array: Any, value: Any) -> Any:
    changed = array.copy()
    changed[0] = value
    return changed


@pytest.mark.parametrize(
    ("see", "message"),
    [
        (lambda o: {k: v for k, v in o.items() if k != "kind"}, "the observation has the entries"),
        (_with("counter", lambda v: v[:, 0]), "counter is float32"),
        (_with("counter", lambda v: v.astype(np.float64)), "counter is float64"),
        (_with("counter", lambda v: v.tolist()), "counter is list"),
        (_with("counter", lambda v: v - 1), "outside its space"),
        (_with("counter", lambda v: _some(v, np.nan)), "outside its space"),
        (_with("kind", lambda v: v + 1), "outside its space"),
        (_with("acting", lambda v: v.astype(np.int64)), "acting is int64"),
        (_with("acting", lambda v: v[..., 0]), "acting is bool"),
        (_with("acting", np.ones_like), "acting"),
        (_with("action_mask/action", _zeros), "allows nothing in slot 0, team 0, agent 0"),
        (_with("action_mask/action", lambda v: v[..., :3]), "action_mask/action is bool"),
    ],
)
def test_a_wrong_observation_is_found(see: Callable[[Observation], Observation], message: str) -> None:
    with pytest.raises(GameContractError, match=message):
        check_game(lambda n_games: Broken(n_games, see=see))


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (_but("reward", lambda r: r.reward.astype(np.float64)), "reward is float64"),
        (_but("reward", lambda r: _some(r.reward, np.inf)), "not finite"),
        (_but("reward", lambda r: r.reward + np.float32(1)), "do not sum to zero"),
        (_but("reward", lambda r: r.reward + np.array([[[1], [-1]]], dtype=np.float32)), "the step after an end has a"),
        (_but("terminated", lambda r: r.terminated[:, 0]), "terminated is bool"),
        (_but("terminated", lambda r: r.terminated | r.observation["counter"][..., 2].any()), "acting"),
        (_but("truncated", lambda r: r.terminated[:, 0, 0]), "truncated is bool"),
        (_but("outcome", lambda r: r.outcome.astype(np.float64)), "outcome is float64"),
        (_but("outcome", lambda r: np.nan_to_num(r.outcome)), "outcome is given where no game ended"),
        (_but("outcome", lambda r: r.outcome / 2), "other than -1, 0, 1"),
        (_but("outcome", lambda r: np.abs(r.outcome)), "outcomes of a game do not sum to zero"),
        (_but("episode", lambda r: {"rows": r.reward}), "episode"),
    ],
)
def test_a_wrong_transition_is_found(end: Callable[[Transition], Transition], message: str) -> None:
    with pytest.raises(GameContractError, match=message):
        check_game(lambda n_games: Broken(n_games, end=end))


def test_an_end_in_the_step_after_an_end_is_found() -> None:
    class EndsTwice(Broken):
        ended = np.zeros(3, dtype=bool)

        def step(self, actions: dict[str, Any]) -> Transition:
            result = super().step(actions)
            again, self.ended = self.ended, result.ended
            return dataclasses.replace(result, truncated=result.truncated | again[:, None, None])

    with pytest.raises(GameContractError, match="the step after an end has an end itself"):
        check_game(EndsTwice)


def test_somebody_acting_on_the_last_observation_is_found() -> None:
    def act(result: Transition) -> Transition:
        acting = result.observation["acting"] | result.ended[:, None, None]
        return dataclasses.replace(result, observation={**result.observation, "acting": acting})

    with pytest.raises(GameContractError, match="acting on the last observation"):
        check_game(lambda n_games: Broken(n_games, end=act))


def test_an_agent_that_acts_after_it_left_is_found() -> None:
    def act(result: Transition) -> Transition:
        acting = result.observation["acting"] | (result.terminated & ~result.ended[:, None, None])
        return dataclasses.replace(result, observation={**result.observation, "acting": acting})

    with pytest.raises(GameContractError, match="is acting, but it has left"):
        check_game(lambda n_games: Broken(n_games, end=act))


def test_a_game_that_goes_on_after_everybody_left_one_by_one_is_found() -> None:
    def forget_the_leaver(result: Transition) -> Transition:
        counted = result.observation["counter"][..., 2] == 4  # the leaver has its end at its own row only
        terminated = result.terminated & (counted | (np.arange(4).reshape(1, 2, 2) < 3))
        return dataclasses.replace(result, terminated=terminated, outcome=np.full_like(result.outcome, np.nan))

    with pytest.raises(GameContractError, match="every agent has left, but the game does not end"):
        check_game(lambda n_games: Broken(n_games, end=forget_the_leaver))


def _visits(see: Callable[[Observation], Observation] = lambda o: o, end: Any = lambda r: r) -> Callable[[int], Any]:
    """A game whose agents come and go, told wrongly."""

    def make(n_games: int) -> Broken:
        game = Broken(n_games, see=see, end=end)
        game.game = CountingGame(n_games, CountingOptions(agents_per_team=3, visits=True, extra_steps=5))
        game.spec = game.game.spec
        return game

    return make


def _shows(change: Callable[[Transition], Any]) -> Callable[[Transition], Transition]:
    """The same transition with another `present`."""
    return lambda r: dataclasses.replace(r, observation={**r.observation, "present": change(r)})


ENDS_OF_THEIR_OWN: list[tuple[Callable[[int], Any], str]] = [
    # cut off alone
    (_visits(end=_but("truncated", lambda r: r.truncated[:, 0, 0])), "truncated is bool"),
    (_visits(end=_shows(lambda r: r.observation["present"] | r.truncated)), "was cut off, but is present"),
    (
        _visits(end=_but("truncated", lambda r: r.truncated & r.ended[:, None, None])),
        "is not present any more, but was neither terminated nor truncated",
    ),
    # joins late
    (
        _visits(see=lambda o: {**o, "present": o["present"] & ~o["acting"]}),
        "is acting, but it has left or is yet to come",
    ),
    (
        _visits(end=_but("reward", lambda r: r.reward + r.reward.max(axis=2, keepdims=True))),
        "gets a reward while it is not present",
    ),
    (
        _visits(end=_but("terminated", lambda r: r.terminated | ~r.observation["present"])),
        "is terminated or truncated, but it is not present",
    ),
    # returns
    (_visits(see=lambda o: {k: v for k, v in o.items() if k != "present"}), "is acting, but it has left"),
    (_visits(end=_but("observation", lambda r: {k: v for k, v in r.observation.items() if k != "present"})), "always"),
]


@pytest.mark.parametrize(("make", "message"), ENDS_OF_THEIR_OWN)
def test_an_end_of_an_agents_own_that_would_be_trained_wrongly_is_found(
    make: Callable[[int], Any], message: str
) -> None:
    with pytest.raises(GameContractError, match=message):
        check_game(make)


def test_a_game_whose_agents_come_and_go_by_the_rules_passes() -> None:
    check_game(_visits())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"teams": 0}, "needs a team"),
        ({"observation_space": spaces.Dict({"acting": spaces.Discrete(2)})}, "reserved name"),
        ({"observation_space": spaces.Dict({"present": spaces.Discrete(2)})}, "reserved name"),
        ({"action_space": spaces.Dict({"action": spaces.Discrete(4, start=1)})}, "expected Discrete from 0"),
        ({"action_space": spaces.Dict({"push": spaces.Box(-1, 1, (2, 2))})}, "expected Discrete from 0"),
        ({"masked_heads": frozenset({"move"})}, r"masked_heads names \['move'\]"),
        ({"team_shared": frozenset({"board"})}, r"team_shared names \['board'\]"),
        ({"uses": {"board": "critic"}}, r"uses names \['board'\]"),
        ({"wire_dtypes": {"board": "float16"}}, r"wire_dtypes names \['board'\]"),
        ({"team_names": ("one",)}, "1 team_names for 2 teams"),
        ({"max_steps": 5}, "max_steps = 5"),
    ],
)
def test_a_wrong_spec_is_found(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(GameContractError, match=message):
        check_game(lambda n_games: Broken(n_games, **spec))


def test_another_number_of_slots_than_asked_for_is_found() -> None:
    with pytest.raises(GameContractError, match="n_games is 4; 3 were asked for"):
        check_game(lambda n_games: Broken(n_games + 1))


def test_a_buffer_that_is_used_again_is_found() -> None:
    class OneBuffer(Broken):
        def step(self, actions: dict[str, Any]) -> Transition:
            result = super().step(actions)
            if not hasattr(self, "buffer"):
                self.buffer = result.observation["counter"]
            self.buffer[:] = result.observation["counter"]
            return dataclasses.replace(result, observation={**result.observation, "counter": self.buffer})

    with pytest.raises(GameContractError, match=r"step changed an observation .* \(counter differs\)"):
        check_game(OneBuffer)


def test_chance_that_the_seed_does_not_decide_is_found() -> None:
    random = np.random.default_rng(0)
    see = _with("counter", lambda v: v + np.float32(random.random()))
    with pytest.raises(GameContractError, match="reset with the same seed gave different games"):
        check_game(lambda n_games: Broken(n_games, see=see))


def test_chance_during_a_game_that_the_seed_does_not_decide_is_found() -> None:
    random = np.random.default_rng(0)
    end = _but("reward", lambda r: r.reward * np.float32(random.integers(1, 3)))
    with pytest.raises(GameContractError, match="the same seed and actions gave different games"):
        check_game(lambda n_games: Broken(n_games, end=end))


def test_a_reset_that_does_not_forget_is_found() -> None:
    class Remembers(Broken):
        resets = 0

        def reset(self, seed: int) -> Observation:
            self.resets += 1
            observation = super().reset(seed)
            return {**observation, "counter": observation["counter"] + np.float32(self.resets)}

    with pytest.raises(GameContractError, match="reset with the same seed gave different games"):
        check_game(Remembers)


def test_seeds_that_do_not_matter_are_found() -> None:
    with pytest.raises(GameContractError, match="the seeds 7 and 8 give the same games"):
        check_game(CountingGame, random=True)


def test_a_game_that_resets_in_the_same_step_is_found() -> None:
    """Its true last observation is lost: the end comes with the next game's first one, in which everybody acts."""

    class SameStep(CountingGame):
        def step(self, actions: dict[str, Any]) -> Transition:
            result = super().step(actions)
            return dataclasses.replace(result, observation=super().step(actions).observation) if self.ended else result

        @property
        def ended(self) -> bool:
            return bool(self._over.all())

    with pytest.raises(GameContractError, match="acting on the last observation"):
        check_game(SameStep)


def test_an_ignored_action_that_has_an_effect_is_found() -> None:
    class Echoes(Broken):
        def step(self, actions: dict[str, Any]) -> Transition:
            result = super().step(actions)
            return dataclasses.replace(result, observation={**result.observation, "last_action": actions["action"]})

    with pytest.raises(GameContractError, match="an action that must be ignored had an effect"):
        check_game(Echoes)


def test_the_unbent_game_passes() -> None:
    check_game(Broken, random=True)
    assert tests.envs.game_zoo.Lottery(1).n_games == 1


def test_a_contract_error_names_the_game() -> None:
    def make(n_games: int) -> VectorGame:
        return Broken(n_games, name="my-game", max_steps=1)

    with pytest.raises(GameContractError, match=r"^my-game: "):
        check_game(make)


def test_a_name_in_place_of_a_function_is_refused_with_what_takes_names() -> None:
    name: Any = "gymnasium:CartPole-v1"
    with pytest.raises(GameError, match=r"not 'gymnasium:CartPole-v1'.*`quintet check NAME`"):
        check_game(name)
