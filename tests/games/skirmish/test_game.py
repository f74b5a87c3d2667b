"""Skirmish as a `VectorGame`: the contract, its options, ends, bots, and what travels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quintet.games.api import ACTING, ACTION_MASK_PREFIX, Actions, GameError, GameWithBots, Observation
from quintet.games.contract import check_game, random_actions
from quintet.games.registry import OWN_GAMES, make_game
from quintet.games.skirmish.game import HEADS, SkirmishGame
from quintet.games.skirmish.rules import HEROES, NO_OP, PRESETS, REWARD_NAMES, REWARDS, RUNE_NAMES, STEP_S
from quintet.games.skirmish.start import ARCHETYPES
from quintet.games.skirmish.state import Array, state_hash
from quintet.games.skirmish.tables import ticks
from quintet.wire.chunk import chunk_spec

MOST_BYTES = 1_200  # of an agent-step in 5v5, the LSTM's state apart


def made(preset: str = "skirmish-3v3", n_games: int = 2, **options: Any) -> SkirmishGame:
    game = make_game(preset, n_games, 0, options)
    assert isinstance(game, SkirmishGame)
    return game


def nothing(game: SkirmishGame) -> Actions:
    shape = (game.n_games, 2, game.preset.heroes)
    return {head: np.full(shape, NO_OP, np.int64) for head in HEADS}


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "rows"), [("skirmish-1v1", 800), ("skirmish-3v3", 120), ("skirmish-5v5", 120)])
def test_the_contract_holds(preset: str, rows: int) -> None:
    assert preset in OWN_GAMES
    check_game(lambda n: make_game(preset, n, seed=0), n_games=2, rows=rows, random=True)


def test_the_contract_holds_with_every_option() -> None:
    options = {
        "line_up": "random", "start_level": [1, 10], "rune_kinds": "random", "first_wave_s": [0, 30],
        "full_state": True,
    }  # fmt: skip
    check_game(lambda n: make_game("skirmish-3v3", n, seed=0, options=options), n_games=2, rows=100, random=True)


def test_the_limit_which_the_heroes_see_is_a_rule_it_terminates_in_a_draw() -> None:
    game = made("skirmish-1v1", n_games=1)
    game.reset(3)
    steps, result = 0, game.step(nothing(game))
    while not result.ended[0]:
        steps, result = steps + 1, game.step(nothing(game))
    assert steps + 1 == game.spec.max_steps == round(PRESETS["skirmish-1v1"].limit_s / STEP_S)
    assert result.terminated[0].all()
    assert not result.truncated.any()
    assert result.outcome[0].tolist() == [0.0, 0.0]
    assert (result.observation["label_win"] == 0.5).all()
    assert not result.observation[ACTING].any()


def test_the_fall_of_a_core_ends_the_game_and_the_next_step_begins_another() -> None:
    game = made(n_games=2)
    game.reset(5)
    layout = game.tables.layout
    towers = slice(layout.block + layout.first_tower, layout.block + layout.core)
    game.state.unit["alive"][0, towers] = False
    game.state.unit["health"][0, towers] = 0
    game.state.unit["incoming"][0, layout.block + layout.core] = 10**9
    result = game.step(nothing(game))
    assert result.ended.tolist() == [True, False]
    assert result.terminated[0].all()
    assert result.outcome[0].tolist() == [1.0, -1.0]
    assert np.isnan(result.outcome[1]).all()
    assert (result.reward[0, 0] > 0).all()
    assert set(result.episode) == set(REWARD_NAMES)
    assert result.episode["win"][0, 0] > 0 > result.episode["win"][0, 1]
    assert (result.observation["label_win"][0, 0] == 1).all()
    assert (result.observation["label_win"][0, 1] == 0).all()
    assert result.observation["label_worth"][0].sum(-1).tolist() == [[1.0] * 3] * 2
    again = game.step(nothing(game))
    assert not again.ended.any()
    assert not again.reward[0].any()
    assert again.observation[ACTING][0].all()
    assert game.state.game["tick"].tolist() == [0, 8]


def test_an_action_lands_one_step_later() -> None:
    game = made("skirmish-1v1", n_games=1)
    game.reset(1)
    start = game.state.unit["x"][0, 0]
    move = nothing(game)
    move["primary"][0, 0, 0], move["x"][0, 0, 0], move["y"][0, 0, 0] = 1, 8, 8
    game.step(move)
    assert game.state.unit["x"][0, 0] == start
    game.step(nothing(game))
    assert game.state.unit["x"][0, 0] > start


def test_a_team_in_the_other_corner_moves_the_other_way_with_the_same_action() -> None:
    game = made("skirmish-1v1", n_games=1)
    game.reset(1)
    units, layout = game.state.unit[0], game.tables.layout
    before = units["x"][[0, layout.block]].copy()
    move = nothing(game)
    move["primary"][:], move["x"][:], move["y"][:] = 1, 8, 6
    game.step(move)
    game.step(nothing(game))
    walked = units["x"][[0, layout.block]] - before
    assert walked[0] == -walked[1] > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_whoever_acts_has_something_legal_in_every_head_that_it_reads(preset: str) -> None:
    game, random = made(preset, start_level=[1, 10], line_up="random"), np.random.default_rng(2)
    observation = game.reset(9)
    for _ in range(80):
        primary = observation[f"{ACTION_MASK_PREFIX}primary"]
        assert primary[observation[ACTING]].any(axis=-1).all()
        for head in ("target", "item"):
            reads = np.array([head in heads for heads in game.spec.reads])
            some = observation[f"{ACTION_MASK_PREFIX}{head}"].any(axis=-1)
            assert (some == (primary & reads)).all(), "a row of choices for every legal action that reads them"
        observation = game.step(random_actions(game.spec, observation, random)).observation


def test_floats_are_near_one_and_travel_as_float16_without_harm() -> None:
    game, random = made("skirmish-5v5", n_games=4, start_level=[1, 10], full_state=True), np.random.default_rng(0)
    observation = game.reset(0)
    for _ in range(400):
        observation = game.step(random_actions(game.spec, observation, random)).observation
        for name, array in numbers(game, observation).items():
            assert np.abs(array).max() <= 2.5, f"{name} column {np.abs(array).max(axis=(0, 1)).argmax(-1)}"
            assert np.isfinite(array.astype(np.float16)).all()


def numbers(game: SkirmishGame, observation: Observation) -> dict[str, Array]:
    """Float entries, their categories left out."""
    floats = {name: observation[name] for name in game.spec.wire_dtypes}
    return {name: array[..., 1:] if name in game.spec.set_categories else array for name, array in floats.items()}


def test_an_agent_step_of_five_against_five_is_small_on_the_wire() -> None:
    game = made("skirmish-5v5", n_games=1)
    spec = chunk_spec(game.spec, lstm_units=128, bptt_steps=16, chunk_steps=256)
    total = 0.0
    for array in spec.observation.values():
        count = int(np.prod(array.shape, dtype=np.int64))
        size = -(-count // 8) if array.dtype == "bool" else count * np.dtype(array.dtype).itemsize
        total += size * (1.0 if array.per_agent else 1 / spec.agents)
    total += sum(np.dtype(head.dtype).itemsize + 4 for head in spec.heads.values())  # the action and its log-prob
    total += 4 + 4 + 3 + 4  # value, reward, flags, opponent's version
    assert total <= MOST_BYTES


def test_the_bots_play_legal_actions_and_are_named_with_a_hash() -> None:
    game = made("skirmish-1v1", n_games=1)
    assert isinstance(game, GameWithBots)
    assert {"random", "weak", "middle", "strong"} <= set(game.bots)
    with pytest.raises(GameError, match=r"no bot 'midle'.*middle"):
        game.bot_actions("midle")


def test_line_ups_are_mirrored_random_or_named() -> None:
    game = made("skirmish-5v5", n_games=16)
    game.reset(0)
    line_ups = game.state.hero["archetype"].reshape(16, 2, 5)
    assert (line_ups[:, 0] == line_ups[:, 1]).all()
    assert len({tuple(row) for row in line_ups[:, 0].tolist()}) > 8
    assert all(len(set(row)) == 5 for row in line_ups[:, 0].tolist())
    other = made("skirmish-5v5", n_games=16, line_up="random")
    other.reset(0)
    line_ups = other.state.hero["archetype"].reshape(16, 2, 5)
    assert (line_ups[:, 0] != line_ups[:, 1]).any()
    named = made("skirmish-1v1", n_games=1, line_up=["tank", "healer"])
    named.reset(0)
    assert [ARCHETYPES[k] for k in named.state.hero["archetype"][0]] == ["tank", "healer"]


def test_starts_are_drawn_from_the_options_and_observed() -> None:
    game = made("skirmish-3v3", n_games=32, start_level=[2, 5], rune_kinds=["haste", "bounty"], first_wave_s=[0, 20])
    observation = game.reset(2)
    levels = game.state.hero["level"]
    assert set(levels[:, 0].tolist()) == {2, 3, 4, 5}
    assert (levels == levels[:, :1]).all()
    assert (game.starts["rune_kinds"] == (1 << RUNE_NAMES.index("haste")) + (1 << RUNE_NAMES.index("bounty"))).all()
    waves = game.state.game["first_wave"]
    assert waves.min() >= 0
    assert waves.max() <= ticks(20)
    assert len(set(waves.tolist())) > 8
    shown = observation["globals"]
    np.testing.assert_allclose(shown[:, :, 12], np.repeat(levels[:, :1] / 10, 2, axis=1), rtol=1e-6)
    np.testing.assert_allclose(shown[:, :, 13], np.repeat(waves[:, None] / ticks(60), 2, axis=1), rtol=1e-6)
    assert shown[0, 0, -4:].tolist() == [1.0, 0.0, 0.0, 1.0]
    own, enemy = shown[..., 14 : 14 + len(HEROES)], shown[..., 14 + len(HEROES) : 14 + 2 * len(HEROES)]
    assert (own.sum(-1) == 3).all()
    assert (own == enemy[:, ::-1]).all()


def test_weights_of_rewards_may_be_replaced_and_change_nothing_but_rewards() -> None:
    usual, other = (
        made("skirmish-1v1", n_games=1),
        made("skirmish-1v1", n_games=1, rewards={"experience": 2 * REWARDS["experience"]}),
    )
    for game in (usual, other):
        game.reset(3)
        for _ in range(120):
            game.step(game.bot_actions("middle"))
    assert state_hash(usual.state, 0) == state_hash(other.state, 0)
    gained = usual.state.hero["episode"][0, :, REWARD_NAMES.index("experience")]
    doubled = other.state.hero["episode"][0, :, REWARD_NAMES.index("experience")]
    assert gained.max() > 0
    assert doubled == pytest.approx(2 * gained, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"line_up": ["tonk"]}, r"'tonk'.*tank"),
        ({"line_up": ["tank", "tank"]}, r"2 heroes; expected 3, or 6"),
        ({"line_up": "all"}, r"mirror, random or a list"),
        ({"start_level": 11}, r"start_level is 11.*from 1 to 10"),
        ({"start_level": [5, 2]}, r"start_level is \[5, 2\]"),
        ({"rune_kinds": ["hast"]}, r"'hast'.*haste"),
        ({"first_wave_s": -1}, r"first_wave_s is -1"),
        ({"rewards": {"kil": 1}}, r"'kil'.*'kill'"),
        ({"rewards": {"kill": "much"}}, r"rewards.kill is 'much'"),
        ({"line_upp": "mirror"}, r"no option 'line_upp'.*line_up"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_expected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GameError, match=message):
        made("skirmish-3v3", **options)


def test_a_step_before_reset_and_an_action_out_of_range_are_refused() -> None:
    game = made("skirmish-1v1", n_games=1)
    with pytest.raises(GameError, match="reset"):
        game.step(nothing(game))
    game.reset(0)
    wrong = nothing(game)
    wrong["target"][0, 0, 0] = PRESETS["skirmish-1v1"].slots
    with pytest.raises(GameError, match=r"head 'target' has numbers from 0 to 28; expected 0 to 27"):
        game.step(wrong)
