"""The scripted bots of skirmish: they play by the rules, see only what their team sees, and have no side."""

from __future__ import annotations

import numpy as np
import pytest

from quintet.games.masks import mask_given
from quintet.games.registry import make_game
from quintet.games.skirmish import rules
from quintet.games.skirmish.bots.api import BOTS, NAMES, bot_step, source_hash
from quintet.games.skirmish.game import SkirmishGame
from quintet.games.skirmish.observation.spec import Page
from quintet.games.skirmish.observation.write import observe_games
from quintet.games.skirmish.state import Array, State
from tests.support.skirmish_mirror import mirrored_state

STRENGTHS = ("random", "weak", "middle", "strong")


def start(name: str, n_games: int, seed: int) -> SkirmishGame:
    game = make_game(name, n_games, seed, {"line_up": "random"})
    assert isinstance(game, SkirmishGame)
    game.reset(seed)
    return game


def play(game: SkirmishGame, bot: str, steps: int) -> None:
    for _ in range(steps):
        game.step(game.bot_actions(bot))


def observed_slots(game: SkirmishGame, state: State) -> Array:
    """What both teams would observe in that state."""
    page = Page(game.preset, len(state.game), full_state=False)
    stood = np.zeros((len(state.game), 2, game.tables.layout.towers + 1), np.int8)
    observe_games(state, game.tables, page.view, stood)
    return page.view.slots


def copied(state: State) -> State:
    return State(game=state.game.copy(), unit=state.unit.copy(), hero=state.hero.copy())


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["skirmish-1v1", "skirmish-3v3", "skirmish-5v5"])
@pytest.mark.parametrize("bot", STRENGTHS)
def test_every_action_of_a_whole_game_is_legal(preset: str, bot: str) -> None:
    game = start(preset, 2, 5)
    observation, ended, steps = game.reset(5), np.zeros(2, bool), 0
    while not ended.all():
        actions = game.bot_actions(bot)
        acting = observation["acting"]
        primary = np.take_along_axis(observation["action_mask/primary"], actions["primary"][..., None], -1)[..., 0]
        assert primary[acting].all()
        for head in ("target", "item"):
            mask = mask_given(game.spec, observation, head, actions)
            assert mask is not None
            reads = np.array([head in heads for heads in game.spec.reads])[actions["primary"]] & acting
            assert np.take_along_axis(mask, actions[head][..., None], -1)[..., 0][reads].all()
        transition = game.step(actions)
        observation, ended, steps = transition.observation, ended | transition.ended, steps + 1
    assert steps > 100


@pytest.mark.parametrize("bot", STRENGTHS)
def test_a_bot_only_reads_the_state_and_always_chooses_the_same(bot: str) -> None:
    game = start("skirmish-3v3", 2, 7)
    play(game, "strong", 150)
    before = [part.tobytes() for part in game.state]
    first, second = game.bot_actions(bot), game.bot_actions(bot)
    for head, chosen in first.items():
        np.testing.assert_array_equal(chosen, second[head])
    assert [part.tobytes() for part in game.state] == before


@pytest.mark.parametrize("bot", STRENGTHS)
def test_a_game_is_chosen_for_without_a_look_at_the_others(bot: str) -> None:
    game = start("skirmish-3v3", 3, 8)
    play(game, "middle", 120)
    together = game.bot_actions(bot)
    slots = observed_slots(game, game.state)
    for g in range(3):
        one = State(*(part[g : g + 1].copy() for part in game.state))
        alone = bot_step(bot, one, game.tables, slots[g : g + 1].copy())
        for k, head in enumerate(together):
            np.testing.assert_array_equal(alone[0, ..., k], together[head][g])


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["skirmish-1v1", "skirmish-5v5"])
@pytest.mark.parametrize("bot", STRENGTHS)
def test_turning_the_map_turns_what_a_bot_does(preset: str, bot: str) -> None:
    game = start(preset, 4, 9)
    for _ in range(12):
        play(game, "strong", 25)
        there = mirrored_state(game.state, game.tables.layout)
        here = bot_step(bot, game.state, game.tables, observed_slots(game, game.state))
        np.testing.assert_array_equal(bot_step(bot, there, game.tables, observed_slots(game, there)), here[:, ::-1])


@pytest.mark.parametrize("bot", STRENGTHS)
def test_moving_what_nobody_sees_changes_nothing(bot: str) -> None:
    game, moved = start("skirmish-5v5", 4, 10), 0
    for _ in range(8):
        play(game, "middle", 30)
        before = bot_step(bot, game.state, game.tables, observed_slots(game, game.state))
        for team in range(2):
            state = copied(game.state)
            hidden = (state.unit["team"] != team) & (state.unit["seen"][..., team] == 0) & state.unit["alive"]
            hidden[:, game.tables.layout.first_tower : game.tables.layout.block] = False
            hidden[:, game.tables.layout.block + game.tables.layout.first_tower : game.tables.layout.first_neutral] = (
                False
            )
            for name, value in {"x": 77.0, "y": -33.0, "health": 1, "target": 0, "damage": 5}.items():
                state.unit[name][hidden] = value
            moved += int(hidden[:, game.tables.layout.block :].sum())
            after = bot_step(bot, state, game.tables, observed_slots(game, state))
            np.testing.assert_array_equal(after[:, team], before[:, team])
    assert moved > 50


def test_all_bots_have_the_hash_of_their_sources() -> None:
    assert tuple(BOTS) == NAMES == STRENGTHS
    assert all(len(source) == 12 and int(source, 16) >= 0 for source in BOTS.values())


def test_the_hash_changes_with_the_rules_but_not_with_what_rewards_weigh(monkeypatch: pytest.MonkeyPatch) -> None:
    before = source_hash()
    monkeypatch.setattr(rules, "REWARDS", {**rules.REWARDS, "win": 7.0})
    assert source_hash() == before == BOTS["middle"]
    monkeypatch.setattr(rules, "START_GOLD", rules.START_GOLD + 1)
    assert source_hash() != before


def test_an_unknown_bot_is_an_error_that_names_the_known_ones() -> None:
    game = start("skirmish-1v1", 1, 1)
    with pytest.raises(ValueError, match="random, weak, middle, strong"):
        bot_step("clever", game.state, game.tables, observed_slots(game, game.state))
