"""From a folder to what an optimizer goes on from: which checkpoint that is, and whether it fits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from model.policy import Policy
from optimizer.checkpoint import CheckpointError, CheckpointInfo, find_checkpoint, read_info, read_snapshot
from wire.chunk import WIRE_VERSION, ChunkSpec
from wire.meaning import difference


def checkpoint_to_resume(run_folder: Path, *, deterministic: bool) -> Path:
    """The newest checkpoint of a run; of a deterministic one the newest that an era began with, where there is one.

    Raises:
        CheckpointError: there is none.
    """
    newest = find_checkpoint(run_folder)
    if deterministic:
        for folder in sorted((p for p in newest.parent.iterdir() if p.name.isdigit()), key=_number, reverse=True):
            if _number(folder) <= _number(newest) and read_info(folder).era_begins:
                return folder
    return newest


def _number(folder: Path) -> int:
    return int(folder.name)


def load_fitting(folder: Path, *, spec: ChunkSpec, policy: Policy) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """A checkpoint of this very game and network.

    Raises:
        CheckpointError: it is damaged, or of another one; the message says what must be the same.
    """
    info = read_info(folder)
    check_spec_is(folder, info, spec)
    snapshot = read_snapshot(folder, info)
    _check_fits(folder, snapshot, policy)
    return info, snapshot


def check_spec_is(folder: Path, info: CheckpointInfo, spec: ChunkSpec) -> None:
    """Whether the numbers of a checkpoint mean what this program would take them for.

    Raises:
        CheckpointError: they do not; the message names what differs first.
    """
    if info.spec_hash == spec.hash:
        return
    expected = json.loads(spec.text)
    found = json.loads(info.spec) if info.spec else {"wire_version": f"less than {WIRE_VERSION}"}
    if found["wire_version"] == WIRE_VERSION:
        why = difference(found, expected)
    else:
        why = f"its wire version is {found['wire_version']}, this one is {WIRE_VERSION}"
    raise CheckpointError(
        f"checkpoint {folder} is of {info.game!r} with spec {info.spec_hash}, {spec.game!r} as it is now has spec "
        f"{spec.hash}: {why}. Use the game and settings that it was trained with, or the Quintet that wrote it"
    )


def check_precision(folder: Path, info: CheckpointInfo, policy: Policy) -> None:
    """A run goes on in the number format that it began in: chunks and weights of another one are on their way.

    Raises:
        CheckpointError: it would not; names both.
    """
    if info.precision not in ("", policy.precision):
        raise CheckpointError(
            f"checkpoint {folder} is computed in {info.precision}, but model.precision is {policy.precision}: leave "
            f"it as it was, or start a new run with --from {folder} --set model.precision={policy.precision}"
        )


def _check_fits(folder: Path, snapshot: Mapping[str, Tensor], policy: Policy) -> None:
    """The spec's hash says nothing of the network's other widths."""
    for name, own in policy.state_dict().items():
        found = snapshot.get(f"policy.{name}")
        if found is None or found.shape != own.shape:
            shape = "missing" if found is None else str(list(found.shape))
            raise CheckpointError(
                f"checkpoint {folder} is of another network: {name} is {shape}, expected {list(own.shape)}; "
                "model.encoder_units and model.encoder must be the same"
            )
