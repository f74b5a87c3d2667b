"""What an environment gets wrong is said in one line: the user's file and line, what was found, what to do."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest

import tests.envs.mistaken_envs
from quintet.games.api import GameError
from quintet.games.checks.data import Mismatch, check_choice
from quintet.games.contract import random_actions
from quintet.games.registry import make_game
from tests.support.needs import extra

CALLED = {"NoInfo": "reset", "NoSeed": "reset", "OldApi": "reset"}


def _played(name: str, rows: int = 20) -> Any:
    game = make_game(f"gymnasium:tests.envs.mistaken_envs:mistaken/{name}-v0", 2, 0)
    observation, random = game.reset(3), np.random.default_rng(0)
    for _ in range(rows):
        observation = game.step(random_actions(game.spec, observation, random)).observation
    return game


def _line(kind: type, method: str) -> int:
    """The line of the class's method, its own or inherited, or of the class."""
    return inspect.getsourcelines(getattr(kind, method) if method else kind)[1]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("NanGain", r"the reward is nan; expected finite numbers .* slot 0, row 4\)"),
        ("NoGain", r"the reward is None; expected one number: return a float, .* row 1\)"),
        ("GainInArray", r"the reward is an array float64 \(1,\); expected one number: return float\(reward\[0\]\)"),
        ("HugeGain", r"the reward is 1e\+13; expected finite numbers of at most 1e\+12"),
        ("NanSeen", r"observation is nan at index \[0\]; expected finite .* row 4\)"),
        ("InfinitySeen", r"place is inf .* at index \[0\]; .* row 4\)"),
        ("TooLargeForFloat32", r"observation is inf \(infinite, or too large for float32\) at index \[1\]"),
        ("TooLargeToTravel", r"observation is 2e\+12 at index \[0\]"),
        ("CategoryBeyond", r"sign is 3; expected 0 to 2, as its space says: make the space larger .* row 4\)"),
        ("CategoryNegative", r"observation is 1; expected 2 to 6"),
        ("ManyBeyond", r"observation is 2; expected 0 to 1"),
        ("BitsBeyond", r"observation holds 2; expected 0 and 1 alone"),
        ("CategoryOfFloats", r"observation holds floats \(1.5 to 1.5\); expected whole numbers"),
        ("OneForThree", r"observation has shape \(1,\); expected \(3,\), as its space says"),
        ("FourForThree", r"observation has shape \(4,\); expected \(3,\)"),
        ("Words", r"observation is 'three numbers'; expected numbers of shape \(3,\)"),
        ("Ragged", r"observation is \[\[0.0\], \[1.0, 2.0\], 3.0\]; expected numbers of shape \(3,\)"),
        ("FloatPicture", r"holds floats \(0.5 to 0.5\); expected uint8 image, .* \(x \* 255\).astype\(np.uint8\)"),
        ("WidePicture", r"observation holds 256 to 256; expected 0 to 255"),
        ("PartMissing", r"the observation has no 'sign', which its space has; it has the keys \['place'\]"),
        ("AddedMask", r"the action mask holds -inf; expected 1 or True where .* read the other way round"),
        ("TwosInMask", r"the action mask holds 2; expected 1 or True"),
        ("EmptyMask", r"allows nothing of 'action' \(3 choices\); expected at least one 1 .* row 4\)"),
        ("NoInfo", r"returned an array float32 \(3,\) alone; expected two values: return observation, \{\}"),
        ("NoSeed", r"cannot be called: TypeError: .* argument 'seed'; write def reset\(self, \*, seed=None"),
        ("OldApi", r"cannot be called: TypeError: .* argument 'seed'; write def reset\(self, \*, seed=None"),
        ("FourValues", r"returned 4 values \(.*\) \(the old API: .*; expected five values: return observation, reward"),
        ("ObservationAlone", r"returned an array float32 \(3,\) alone; expected five values"),
        ("LateMask", r"the info has an action_mask, which the info of reset did not have: .*return one from reset"),
        ("EndsInWords", r"terminated is 'no'; expected True or False: return bool\(terminated\)"),
    ],
)
def test_wrong_data_is_refused_where_it_arises(name: str, says: str) -> None:
    kind: Any = tests.envs.mistaken_envs.CLASSES[name]
    with pytest.raises(GameError, match=says) as caught:
        _played(name)
    if "Mask" in name or name == "CategoryNegative":  # seen at the first reset or at a step
        return
    method = CALLED.get(name) or ("reset" if "row 0" in str(caught.value) else "step")
    assert str(caught.value).startswith(f"tests/envs/mistaken_envs.py:{_line(kind, method)}: {name}.{method}")


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(GameError, match="the action mask has 2 entries, but the Discrete heads"):
        _played("ShortMask")


@pytest.mark.parametrize(
    ("name", "mark", "says"),
    [
        ("Raises", "<- here", "Raises.step raised ValueError: the engine stalled with a second line"),
        ("RaisesDeep", "<- deep", "RaisesDeep.step raised LinAlgError: Singular matrix"),
        ("Quits", "SystemExit(", r"Quits.step ended the program \(SystemExit: no licence\); raise an error"),
        ("CannotBeMade", "no simulator", "making the environment raised RuntimeError: no simulator here"),
    ],
)
def test_an_error_in_the_users_code_comes_with_its_line_there(name: str, mark: str, says: str) -> None:
    source = inspect.getsource(tests.envs.mistaken_envs).splitlines()
    line = next(number for number, text in enumerate(source, 1) if mark in text)
    with pytest.raises(GameError, match=f"^tests/envs/mistaken_envs.py:{line}: .*{says}") as caught:
        _played(name)
    assert caught.value.__cause__ is not None


def test_an_environment_without_spaces_is_told_what_to_write() -> None:
    line = _line(tests.envs.mistaken_envs.Spaceless, "")
    with pytest.raises(
        GameError, match=f"^tests/envs/mistaken_envs.py:{line}: Spaceless has no observation_space; .* write"
    ):
        _played("Spaceless")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("OutsideBox", r"OutsideBox.step: 'place' holds .*, outside its space Box\(-2.0, 2.0, .*taken as it is"),
        ("OnePartMore", r"the observation has 'hint', which its space does not have: it is left out"),
        ("Float64Seen", r"'observation' is float64 where its space says float32: it is rounded"),
        ("PictureWithoutChannels", r"is taken for 1,600 single numbers; an image, .* axis of channels: x\[..., None\]"),
    ],
)
def test_what_is_hardly_meant_is_remarked(name: str, says: str) -> None:
    (remark,) = _played(name, rows=7).remarks().values()
    assert remark.startswith("tests/envs/mistaken_envs.py:")
    assert re.search(says, remark), remark


@pytest.mark.parametrize("name", ["Sound", "Plain"])
def test_a_sound_environment_gets_no_remark(name: str) -> None:
    assert _played(name, rows=20).remarks() == {}


def _pair(name: str) -> Any:
    extra("pettingzoo")
    game = make_game(f"pettingzoo:tests.envs.mistaken_parallel:{name}", 2, 0)
    observation, random = game.reset(3), np.random.default_rng(0)
    for _ in range(10):
        observation = game.step(random_actions(game.spec, observation, random)).observation
    return game


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("GainNan", r"Pair.step: the reward is nan; .* slot 0, row 3, agent 'b'\)"),
        ("GainNone", r"Pair.step: the reward is None; expected one number: .* row 1, agent 'b'\)"),
        ("MaskEmpty", r"Pair.step: the action mask allows nothing of 'action' .* row 2, agent 'a'\)"),
        ("MaskAdded", r"Pair.reset: the action mask holds -inf; expected 1 or True .* row 0, agent 'a'\)"),
        ("MaskLate", r"Pair.step: the info has an action_mask, which the info of reset did not have"),
        ("SeenShorter", r"Pair.reset: observation has shape \(1,\); expected \(2,\)"),
        ("SeenInfinite", r"Pair.step: observation is inf .* row 2, agent 'a'\)"),
        ("Stranger", r"Stranger.step: something .* is given to, 'c'; its possible_agents are \['a', 'b'\]"),
        ("OneGain", r"OneGain.step: value 1 of what it returned is 1.0; expected a dict by agent"),
        ("GainForOne", r"GainForOne.step: there is no reward for 'b', who is in agents and plays on; .* row 1\)"),
        ("SeenByOne", r"SeenByOne.step: there is no observation for 'b', who is in agents and plays on; .* row 3\)"),
        ("SeenByOneAtFirst", r"SeenByOneAtFirst.reset: there is no observation for 'a'"),
        ("SeenAlone", r"SeenAlone.reset: returned .* alone; expected two values"),
        ("Raises", r"Raises.step raised KeyError: 'ledger'"),
    ],
)
def test_wrong_data_of_one_agent_of_several_is_refused_with_its_name(name: str, says: str) -> None:
    with pytest.raises(GameError, match=f"^tests/envs/mistaken_parallel.py:\\d+: {says}".replace("Pair.", f"{name}.")):
        _pair(name)


def test_an_empty_mask_of_whom_nobody_asks_is_passed_over() -> None:
    none = np.zeros((2, 3), np.bool_)
    check_choice("action", none, np.zeros(2, np.bool_))
    with pytest.raises(Mismatch, match=r"the action mask allows nothing of 'action' \(3 choices\)") as caught:
        check_choice("action", none, np.array([False, True]))
    assert caught.value.at == (1,)


def test_parallel_environments_are_remarked_on_as_others_are() -> None:
    (remark,) = _pair("SeenOutside").remarks().values()
    assert "SeenOutside.step: 'observation' holds 50, outside its space" in remark
    assert _pair("Pair").remarks() == {}


@pytest.mark.parametrize(
    ("part", "value", "says"),
    [
        (0, np.full((2, 4), np.nan, np.float32), r"observation is nan at index \[0\].* slot 0, row 1"),
        (0, np.zeros((4, 2), np.float32), r"observation has shape \(4, 2\); expected \(2, 4\)"),
        (1, np.array([1.0, np.inf]), r"the reward is inf .* slot 1, row 1"),
        (1, np.ones((2, 1)), r"the reward is an array float64 \(2, 1\); expected an array of shape \(2,\)"),
        (4, {"action_mask": np.ones((2, 2), bool)}, r"the info has an action_mask, which the info of reset did not"),
        (2, [False, False], r"terminated is \[False, False\]; expected an array of shape \(2,\)"),
    ],
)
def test_a_vectorised_environment_is_looked_at_too(
    part: int, value: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    game: Any = make_game("gymnasium:CartPole-v1", 2, 0)
    game.reset(0)
    step = game._env.step

    def changed(actions: Any) -> Any:
        returned = list(step(actions))
        returned[part] = value
        return tuple(returned)

    monkeypatch.setattr(game._env, "step", changed)
    with pytest.raises(GameError, match=f"CartPoleVectorEnv: {says}"):
        game.step({"action": np.zeros((2, 1, 1), np.int64)})


def test_an_environment_that_fails_to_close_is_warned_of_and_the_others_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    game: Any = make_game("gymnasium:tests.envs.mistaken_envs:mistaken/FailsToClose-v0", 2, 0)
    closed: list[bool] = []
    monkeypatch.setattr(game._envs[1], "close", lambda: closed.append(True))
    with pytest.warns(
        RuntimeWarning, match=r"^tests/envs/mistaken_envs.py:\d+: closing it raised RuntimeError: the window"
    ):
        game.close()
    assert closed == [True]
