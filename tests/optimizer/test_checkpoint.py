"""Checkpoints: whole or not there, found again, and refused by name when they are damaged."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from quintet.control.config import RunConfig
from quintet.evaluation.entrants import Contestant, seat_policy
from quintet.games.api import GameSpec
from quintet.model.config import PolicyConfig
from quintet.model.policy import Policy
from quintet.optimizer.checkpoint import (
    INFO,
    MOMENTS,
    POLICY,
    CheckpointError,
    CheckpointInfo,
    find_checkpoint,
    load_fitting,
    read_info,
    read_policy,
    read_snapshot,
    save_checkpoint,
)
from quintet.wire.chunk import WIRE_VERSION


def info(version: int) -> CheckpointInfo:
    return CheckpointInfo(
        version=version,
        agent_steps=1000 * version,
        gradient_steps=3 * version,
        trained_net=900 * version,
        spec_hash="0123456789abcdef",
        game="counting",
        config='game = "counting"\n',
    )


def snapshot(version: int) -> dict[str, Tensor]:
    torch.manual_seed(version)
    return {
        "policy.layer.weight": torch.randn(3, 4),
        "policy.layer.bias": torch.randn(4).bfloat16(),
        "adam.0.step": torch.tensor(float(version)),
        "clip.updates": torch.tensor(version),
        "rng": torch.Generator().manual_seed(version).get_state(),
    }


def save(folder: Path, *versions: int, keep: int = 5) -> None:
    for version in versions:
        save_checkpoint(folder, info(version), snapshot(version), keep=keep)


def assert_latest_is(folder: Path, version: int) -> None:
    """`latest` names a checkpoint that can be read and is this version's, to the last bit."""
    found = find_checkpoint(folder)
    data = read_info(found)
    assert data.version == version
    tensors = read_snapshot(found, data)
    expected = snapshot(version)
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    save(tmp_path, 7)
    assert_latest_is(tmp_path, 7)
    data = read_info(tmp_path / "000007")
    assert replace(data, sha256={}) == info(7)
    assert data.sha256.keys() == {POLICY, MOMENTS}
    assert read_policy(tmp_path / "000007", data) == (tmp_path / "000007" / POLICY).read_bytes()


def test_a_checkpoint_folder_holds_tensors_and_json_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path, 7)
    assert {p.name for p in (tmp_path / "000007").iterdir()} == {POLICY, MOMENTS, INFO}
    assert {p.name for p in tmp_path.iterdir()} == {"000007", "latest"}
    assert json.loads((tmp_path / "000007" / INFO).read_text())["version"] == 7


def test_the_newest_by_number_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 8, 9, 10, 99, 100, 1_000_000, keep=3)
    assert {p.name for p in tmp_path.iterdir()} == {"000099", "000100", "1000000", "latest"}
    assert_latest_is(tmp_path, 1_000_000)


def test_the_last_one_stays_whatever_keep_says(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, keep=0)
    assert_latest_is(tmp_path, 2)


def test_a_version_can_be_written_again(tmp_path: Path) -> None:
    save(tmp_path, 4, 5, 5)
    assert_latest_is(tmp_path, 5)
    assert {p.name for p in tmp_path.iterdir()} == {"000004", "000005", "latest"}


def test_a_checkpoint_of_an_earlier_training_in_the_same_folder_gives_way(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, info(5), snapshot(99), keep=2)
    save(tmp_path, 5)
    assert_latest_is(tmp_path, 5)


class Crash(BaseException):
    """The process dies here: nothing after it runs, not even a clean-up."""


class Fault:
    """Fails at the n-th call that writes to the disk, with a full disk or a crash."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, *, crash: bool = False) -> None:
        self.at, self.crash, self.calls = at, crash, 0
        for owner, name in ((Path, "mkdir"), (Path, "open"), (os, "fsync"), (Path, "replace"), (Path, "rename")):
            monkeypatch.setattr(owner, name, self._failing(getattr(owner, name)))

    def _failing(self, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if kwargs.get("mode") == "r":
                return real(*args, **kwargs)
            self.calls += 1
            if self.calls == self.at or (self.crash and self.calls > self.at):
                raise Crash if self.crash else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        return call


def faults(tmp_path: Path, *, crash: bool, again: bool) -> Iterator[tuple[Path, int]]:
    """Fail at the first call, then at the second, and so on until a checkpoint goes through."""
    for at in range(1, 100):
        folder = tmp_path / str(at)
        save(folder, 4, 5)
        with pytest.MonkeyPatch.context() as monkeypatch:
            fault = Fault(monkeypatch, at, crash=crash)
            try:
                save_checkpoint(folder, info(5 if again else 6), snapshot(5 if again else 6), keep=2)
            except CheckpointError as error:
                assert "No space left on device; the last good one stays" in str(error)  # noqa: PT017
            except Crash:
                pass
        if fault.calls < at:
            return
        yield folder, at
    pytest.fail("the checkpoint never went through")


@pytest.mark.slow
def test_a_full_disk_at_any_point_leaves_the_last_good_checkpoint_and_no_rubbish(tmp_path: Path) -> None:
    points = 0
    for folder, at in faults(tmp_path, crash=False, again=False):
        assert_latest_is(folder, 5)
        assert not [p.name for p in folder.iterdir() if p.name.startswith(".writing")], f"fault {at}"
        points += 1
    assert points >= 10  # a folder, three files opened and synced, two renames, `latest` opened and synced


def test_a_crash_at_any_point_leaves_a_checkpoint_that_can_be_read(tmp_path: Path) -> None:
    for folder, _ in faults(tmp_path, crash=True, again=False):
        assert_latest_is(folder, 5)


@pytest.mark.parametrize("crash", [False, True])
def test_writing_a_version_again_never_takes_away_the_one_that_is_there(tmp_path: Path, crash: bool) -> None:
    for folder, _ in faults(tmp_path, crash=crash, again=True):
        assert_latest_is(folder, 5)


def test_what_a_crash_left_half_written_is_gone_after_the_next_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 4)
    with pytest.MonkeyPatch.context() as monkeypatch:
        Fault(monkeypatch, 6, crash=True)
        with pytest.raises(Crash):
            save(tmp_path, 5)
    (left_behind,) = (p for p in tmp_path.iterdir() if p.name.startswith(".writing"))
    left_behind.rename(tmp_path / ".writing-000005-999999")  # of another process, long dead
    save(tmp_path, 6)
    assert {p.name for p in tmp_path.iterdir()} == {"000004", "000006", "latest"}


@pytest.mark.parametrize("name", [POLICY, MOMENTS])
@pytest.mark.parametrize("damage", ["truncated", "changed", "gone", "grown"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    save(tmp_path, 5)
    path = tmp_path / "000005" / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        path.write_bytes({"truncated": data[:-7], "changed": flipped, "grown": data + b"x"}[damage])
    with pytest.raises(CheckpointError, match=rf"000005 .*{name}"):
        read_snapshot(tmp_path / "000005", read_info(tmp_path / "000005"))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 5}', "\x00\xff"])
def test_a_damaged_description_is_named(tmp_path: Path, text: str) -> None:
    save(tmp_path, 5)
    (tmp_path / "000005" / INFO).write_text(text)
    with pytest.raises(CheckpointError, match=rf"000005 .*{INFO}"):
        read_info(tmp_path / "000005")


def test_a_checkpoint_of_another_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    save(tmp_path, 5)
    path = tmp_path / "000005" / INFO
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(CheckpointError, match="has format 2, this version reads 1"):
        read_info(tmp_path / "000005")


def test_a_field_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 5)
    path = tmp_path / "000005" / INFO
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "blue"}))
    assert read_info(tmp_path / "000005").version == 5


def test_a_checkpoint_is_found_by_its_own_folder_its_parent_and_its_run(tmp_path: Path) -> None:
    save(tmp_path / "checkpoints", 4, 5)
    folder = tmp_path / "checkpoints"
    assert find_checkpoint(tmp_path) == find_checkpoint(folder) == folder / "000005"
    assert find_checkpoint(folder / "000004") == folder / "000004"


@pytest.mark.parametrize("where", ["", "nowhere", "checkpoints"])
def test_no_checkpoint_is_an_error_that_says_what_was_looked_for(tmp_path: Path, where: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match=rf"no checkpoint at .*expected a folder with {INFO}"):
        find_checkpoint(tmp_path / where)


def test_a_latest_that_names_a_folder_which_is_gone_is_an_error_that_names_it(tmp_path: Path) -> None:
    save(tmp_path, 5)
    (tmp_path / "latest").write_text("000009")
    with pytest.raises(CheckpointError, match="000009"):
        read_info(find_checkpoint(tmp_path))


CONFIG = RunConfig(model=PolicyConfig(lstm_units=16))


def game(bound: float) -> GameSpec:
    """One number to push, within these bounds."""
    return GameSpec(
        name="push",
        teams=1,
        agents_per_team=1,
        observation_space=spaces.Dict({"seen": spaces.Box(-1.0, 1.0, (2,))}),
        action_space=spaces.Dict({"push": spaces.Box(-bound, bound, (1,))}),
    )


def written(folder: Path, bound: float) -> tuple[Path, CheckpointInfo]:
    """A checkpoint of an untrained network for a push of so much."""
    spec = CONFIG.chunk_spec(game(bound))
    info = CheckpointInfo(
        version=1,
        agent_steps=0,
        gradient_steps=0,
        trained_net=0,
        spec_hash=spec.hash,
        spec=spec.text,
        game="push",
        config="",
    )
    weights = {f"policy.{name}": tensor for name, tensor in Policy(game(bound), CONFIG.model).state_dict().items()}
    at = save_checkpoint(folder, info, weights, keep=1)
    return at, read_info(at)


def test_a_checkpoint_with_other_bounds_of_its_actions_is_refused_by_name(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, 1.0)
    load_fitting(folder, spec=CONFIG.chunk_spec(game(1.0)), policy=Policy(game(1.0), CONFIG.model))
    words = r"meaning.action_bounds.push is \[-1.0, 1.0\] there and \[-50.0, 50.0\] here"
    with pytest.raises(CheckpointError, match=words):
        load_fitting(folder, spec=CONFIG.chunk_spec(game(50.0)), policy=Policy(game(50.0), CONFIG.model))


def test_a_checkpoint_from_before_images_had_statistics_is_whole_without_them(tmp_path: Path) -> None:
    spec = replace(game(1.0), observation_space=spaces.Dict({"seen": spaces.Box(0, 255, (7, 7, 3), np.uint8)}))
    policy = Policy(spec, CONFIG.model)
    weights = {f"policy.{n}": x for n, x in policy.state_dict().items() if not n.startswith("encoders.0.normalizer.")}
    about = CheckpointInfo(
        version=1, agent_steps=0, gradient_steps=0, trained_net=0, game="push", config="",
        spec_hash=CONFIG.chunk_spec(spec).hash, spec=CONFIG.chunk_spec(spec).text,
    )  # fmt: skip
    at = save_checkpoint(tmp_path, about, weights, keep=1)
    _, found = load_fitting(at, spec=CONFIG.chunk_spec(spec), policy=policy)
    assert {f"policy.{name}" for name in policy.state_dict()} == found.keys()
    del weights["policy.encoders.0.project.weight"]
    at = save_checkpoint(tmp_path, replace(about, version=2), weights, keep=1)
    with pytest.raises(CheckpointError, match=r"another network: encoders.0.project.weight is missing"):
        load_fitting(at, spec=CONFIG.chunk_spec(spec), policy=policy)


def test_an_evaluation_refuses_it_too(tmp_path: Path) -> None:
    folder, info = written(tmp_path, 1.0)
    contestant = Contestant(shown="", path=folder, info=info, config=CONFIG)
    seat_policy(contestant, game(1.0), 1, seed=0, greedy=True)
    with pytest.raises(CheckpointError, match="action_bounds"):
        seat_policy(contestant, game(50.0), 1, seed=0, greedy=True)


@pytest.mark.parametrize("version", [2, None])
def test_a_checkpoint_of_another_wire_version_is_refused_by_name(tmp_path: Path, version: int | None) -> None:
    folder, info = written(tmp_path, 1.0)
    old = json.dumps({**json.loads(info.spec), "wire_version": version}) if version else ""
    save_checkpoint(tmp_path, replace(info, spec_hash="0" * 16, spec=old), {"policy.x": torch.zeros(1)}, keep=1)
    found = "2" if version else f"less than {WIRE_VERSION}"
    with pytest.raises(CheckpointError, match=f"its wire version is {found}, this one is {WIRE_VERSION}"):
        load_fitting(folder, spec=CONFIG.chunk_spec(game(1.0)), policy=Policy(game(1.0), CONFIG.model))


def test_the_same_weights_would_push_fifty_times_as_far_in_the_other_game() -> None:
    """Why bounds are part of the meaning: nothing else about the two networks differs."""
    one, other = Policy(game(1.0), CONFIG.model), Policy(game(50.0), CONFIG.model)
    other.load_state_dict(one.state_dict())
    seen, first, before = {"seen": torch.ones(1, 1, 2)}, torch.ones(1, dtype=torch.bool), {"push": torch.zeros(1, 1, 1)}
    near, far = (
        float(policy.act(seen, first, before, policy.initial_state(1), greedy=True).action["push"])
        for policy in (one, other)
    )
    assert far == pytest.approx(50 * near, rel=1e-3)
