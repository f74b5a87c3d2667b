"""A run's folder as the Arena finds it: a configuration, and checkpoints of policies that have learned nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from quintet.control.config import dump_config, parse_config
from quintet.games.registry import make_game
from quintet.model.policy import Policy
from quintet.optimizer.checkpoint import CheckpointInfo, save_checkpoint
from tests.support.policy_factory import with_values

OUTPOST = 'game = "tests.envs.full_spec_game:make_outpost"\n[model]\nlstm_units = 8\n'
SKIRMISH = 'game = "skirmish-1v1"\n[model]\nlstm_units = 16\n'


def arena_run(folder: Path, text: str, *versions: int) -> Path:
    """A run's folder; a checkpoint per version, each with weights of its own."""
    config = parse_config(text, source="the test")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(dump_config(config))
    if not versions:
        return folder
    game = make_game(config.game, 1, 0, config.game_options)
    game.close()
    for version in versions:
        torch.manual_seed(version)
        policy = with_values(Policy(game.spec, config.model).use_device(torch.device("cpu")))
        info = CheckpointInfo(
            version=version,
            agent_steps=0,
            gradient_steps=0,
            trained_net=0,
            spec_hash=config.chunk_spec(game.spec).hash,
            spec=config.chunk_spec(game.spec).text,
            precision=policy.precision,
            game=game.spec.name,
            config=dump_config(config),
        )
        weights = {f"policy.{name}": tensor for name, tensor in policy.state_dict().items()}
        save_checkpoint(folder / "checkpoints", info, weights, keep=len(versions))
    return folder
