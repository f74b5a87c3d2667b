"""What a checkpoint is gone on from: only by a program for which its numbers mean the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gymnasium import spaces

from cluster.evaluator import Contestant, seat_policy
from control.config import RunConfig
from games.api import GameSpec
from model.config import PolicyConfig
from model.policy import Policy
from optimizer.checkpoint import CheckpointError, CheckpointInfo, read_info, save_checkpoint
from optimizer.resume import load_fitting
from wire.chunk import WIRE_VERSION

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
