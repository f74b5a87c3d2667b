"""A checkpoint of a policy that learned nothing, of any game."""

from __future__ import annotations

from pathlib import Path

import torch

from quintet.control.config import dump_config, parse_config
from quintet.games.registry import make_game
from quintet.model.policy import Policy
from quintet.optimizer.checkpoint import CheckpointInfo, save_checkpoint
from tests.support.policy_factory import with_values


def save_untrained(folder: Path, config_text: str) -> Path:
    """Save one in a folder of checkpoints; returns its own folder."""
    config = parse_config(config_text)
    game = make_game(config.game, 1, 0, config.game_options)
    game.close()
    torch.manual_seed(0)
    policy = with_values(Policy(game.spec, config.model).use_device(torch.device("cpu")))
    spec = config.chunk_spec(game.spec)
    info = CheckpointInfo(
        version=3,
        agent_steps=10,
        gradient_steps=1,
        trained_net=0,
        spec_hash=spec.hash,
        spec=spec.text,
        precision=policy.precision,
        game=game.spec.name,
        config=dump_config(config),
    )
    snapshot = {f"policy.{name}": tensor for name, tensor in policy.state_dict().items()}
    return save_checkpoint(folder, info, snapshot, keep=1)
