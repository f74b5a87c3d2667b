"""A copy of an environment can know its worker and slot while it is built, and none stays open where one fails."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from quintet.games.api import GameError
from quintet.games.contract import check_game
from quintet.games.copies import SLOT, WORKER, built_for, copies, same_place
from quintet.games.registry import make_game
from tests.envs import restless_env

RESTLESS = "gymnasium:tests.envs.restless_env:Restless-v0"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies say that they are there; the folder that they change is changed back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(restless_env, "PLACES", tmp_path)
    return tmp_path


def taken(place: Path) -> bool:
    with place.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_every_copy_knows_its_worker_and_slot_and_two_workers_can_share_a_machine(places: Path) -> None:
    games = [make_game(RESTLESS, 3, 0, worker=worker) for worker in (0, 7)] + [make_game(RESTLESS, 1, 0)]
    expected = {f"restless-{worker}-{slot}" for worker in (0, 7) for slot in range(3)} | {"restless--1-0"}
    assert {path.name for path in places.iterdir()} == expected
    for game in games:
        game.close()
    assert not any(map(taken, places.iterdir()))
    assert {WORKER, SLOT}.isdisjoint(os.environ)


def test_a_users_own_factory_knows_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        restless_env, "make", lambda n, seed: seen.append((os.environ[WORKER], os.environ[SLOT])), raising=False
    )
    with pytest.raises(Exception, match="expected a VectorGame"):
        make_game("tests.envs.restless_env:make", 4, 0, worker=3)
    assert seen == [("3", "0")]


def test_a_factory_that_makes_a_game_of_ours_hands_the_number_on(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restless_env, "make", lambda n, seed: make_game(RESTLESS, n, seed), raising=False)
    make_game("tests.envs.restless_env:make", 1, 0, worker=5).close()
    assert [path.name for path in places.iterdir()] == ["restless-5-0"]


def test_copies_that_are_compared_side_by_side_take_nothing_from_one_another(places: Path) -> None:
    check_game(lambda n: make_game(RESTLESS, n, 0), n_games=2, rows=30)
    assert {path.name for path in places.iterdir()} == {f"restless--{k}-{slot}" for k in (1, 2, 3) for slot in (0, 1)}


def test_where_one_copy_fails_the_others_are_closed(places: Path) -> None:
    with (places / "restless-2-1").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(GameError, match="BlockingIOError"):
            make_game(RESTLESS, 3, 0, worker=2)
    assert not any(map(taken, places.iterdir()))


def test_where_what_is_built_of_them_fails_all_are_closed(places: Path) -> None:
    with pytest.raises(RuntimeError), built_for(1), copies(2, restless_env.Restless):
        raise RuntimeError
    assert sorted(path.name for path in places.iterdir()) == ["restless-1-0", "restless-1-1"]
    assert not any(map(taken, places.iterdir()))


def test_who_builds_its_environment_anew_later_does_so_for_the_same_place() -> None:
    with built_for(4), copies(3, same_place) as found:
        pass
    with found[2]():
        assert (os.environ[WORKER], os.environ[SLOT]) == ("4", "2")
    assert {WORKER, SLOT}.isdisjoint(os.environ)
