"""Checkpoints: a folder of tensors and JSON per version, written beside and moved into place, so never half there.

checkpoints/000123/policy.safetensors      weights and normalisers, f32
checkpoints/000123/optimizer.safetensors   Adam's and the clip's moments, the state of every random generator
checkpoints/000123/checkpoint.json         `CheckpointInfo`, with the sha256 of both files
checkpoints/latest                         the newest folder's name
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from quintet.model.policy import Policy
from quintet.model.weights import absent_statistics
from quintet.wire.chunk import WIRE_VERSION, ChunkSpec
from quintet.wire.link import PRECISIONS, Precision
from quintet.wire.meaning import difference
from quintet.wire.settings import BEFORE_ALL

FORMAT = 1
UNKNOWN = -1  # what an old checkpoint does not say
PREFIX = "policy."  # of a snapshot's weights and normalisers
POLICY, MOMENTS, INFO = "policy.safetensors", "optimizer.safetensors", "checkpoint.json"


class CheckpointError(Exception):
    """A checkpoint that is missing, damaged, or of another game or network; the message says which."""

    ends_run_with = 1  # see `quintet.control.errors`


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a training has come: what its optimizer counts, and every checkpoint holds."""

    version: int  # the last one published
    agent_steps: int  # valid steps consumed
    gradient_steps: int
    trained_net: int  # the run's `trained` minus its `undone` counter
    passed_net: int = 0  # the same, each step as often as an epoch passed over it
    batches: int = 0  # consumed, those of the warm-up and those that were not finite included
    warmup_left: int = UNKNOWN  # steps that will still only feed the normalisers
    bad_batches: int = 0  # in a row, up to now, that were not finite
    trained_s: float = 0.0  # from the first gradient step on, without the time between processes: see `Ramp`


@dataclass(kw_only=True, slots=True)
class CheckpointInfo(Progress):
    """Everything about a checkpoint that is not a tensor: what `checkpoint.json` holds."""

    era_begins: bool = False  # a determinism epoch begins here: games begin anew, so what follows can be repeated
    settings_through: str = BEFORE_ALL  # the last request for a change that `config` holds
    journal_bytes: int = 0  # how long the run's journal was
    spec_hash: str
    spec: str = ""  # `ChunkSpec.text`: says what differs where the hash does; empty before wire version 3
    game: str
    precision: Precision | Literal[""] = ""  # the run's number format; old checkpoints do not say
    config: str  # the configuration then in force as TOML: what was changed while the run went on is in it
    sha256: dict[str, str] = field(default_factory=dict)  # file name -> hex digest
    format: int = FORMAT

    def progress(self) -> Progress:
        """What the optimizer counted up to here."""
        return Progress(**{f.name: getattr(self, f.name) for f in fields(Progress)})


def save_checkpoint(
    folder: Path,
    info: CheckpointInfo,
    snapshot: Mapping[str, Tensor],
    *,
    keep: int,
    confirm: Callable[[], None] = lambda: None,
) -> Path:
    """Write `folder`/<version>, point `latest` at it, and delete all but the newest `keep`.

    `confirm` is called right before it is moved into place; what it raises leaves everything as it was.

    Raises:
        CheckpointError: the disk is full or not writable; what was there before is untouched.
    """
    final = folder / f"{info.version:06d}"
    temporary = folder / f".writing-{final.name}-{os.getpid()}"
    policy = {n.removeprefix(PREFIX): t.cpu().contiguous() for n, t in snapshot.items() if n.startswith(PREFIX)}
    moments = {n: t.cpu().contiguous() for n, t in snapshot.items() if not n.startswith(PREFIX)}
    files = {POLICY: save(policy), MOMENTS: save(moments)}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    text = json.dumps({**asdict(info), "sha256": digests}, indent=1)
    try:
        if not _holds(final, text):  # it must not be away for a moment, so what is there already is not written again
            temporary.mkdir(parents=True, exist_ok=True)
            for name, data in {**files, INFO: text.encode()}.items():
                write_durably(temporary / name, data)
            _confirm_or_clear(confirm, temporary)
            if final.exists():
                shutil.rmtree(final)  # of an earlier training in the same folder
            temporary.replace(final)
        write_durably(folder / ".latest", final.name.encode())
        (folder / ".latest").replace(folder / "latest")
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"could not write checkpoint {final}: {error.strerror}; the last good one stays"
        ) from error
    _thin_out(folder, keep)
    return final


def _confirm_or_clear(confirm: Callable[[], None], temporary: Path) -> None:
    try:
        confirm()
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_durably(path: Path, data: bytes) -> None:
    """Write and fsync, so that the rename that follows cannot point at a hole."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _holds(folder: Path, text: str) -> bool:
    """Whether this very checkpoint is there; the description's hashes speak for the tensors."""
    try:
        return (folder / INFO).read_text() == text
    except (OSError, ValueError):
        return False


def _thin_out(folder: Path, keep: int) -> None:
    """Delete old checkpoints, and what processes that were killed left half written."""
    for path in folder.glob(".writing-*"):
        shutil.rmtree(path, ignore_errors=True)
    names = sorted((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    for path in names[: -max(keep, 1)]:
        shutil.rmtree(path, ignore_errors=True)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that `path` means: itself, or the latest one of a run folder or a checkpoints folder.

    Raises:
        CheckpointError: there is none.
    """
    if (path / INFO).is_file():
        return path
    for folder in (path / "checkpoints", path):
        if (folder / "latest").is_file():
            return folder / (folder / "latest").read_text().strip()
    raise CheckpointError(
        f"no checkpoint at {path}: expected a folder with {INFO}, or a run folder with checkpoints/latest"
    )


def read_info(folder: Path) -> CheckpointInfo:
    """The JSON part of a checkpoint folder.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        data: dict[str, Any] = json.loads((folder / INFO).read_text())
        known = {f.name for f in fields(CheckpointInfo)}
        info = CheckpointInfo(
            **{"passed_net": data.get("trained_net"), **{k: v for k, v in data.items() if k in known}}
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"checkpoint {folder} cannot be read: {INFO} is missing or damaged ({error})") from error
    if info.format != FORMAT:
        raise CheckpointError(f"checkpoint {folder} has format {info.format}, this version reads {FORMAT}")
    if info.precision not in ("", *PRECISIONS):
        raise CheckpointError(
            f"checkpoint {folder} is computed in {info.precision!r}, expected {' or '.join(PRECISIONS)}"
        )
    return info


def _read_file(folder: Path, name: str, info: CheckpointInfo) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {folder} cannot be read: {name}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != info.sha256.get(name):
        raise CheckpointError(
            f"checkpoint {folder} is damaged: {name} ({len(data)} bytes) does not match its sha256; use an older one"
        )
    return data


def read_policy(folder: Path, info: CheckpointInfo) -> bytes:
    """The policy's safetensors bytes, checked against their sha256.

    Raises:
        CheckpointError: missing, truncated or changed.
    """
    return _read_file(folder, POLICY, info)


def read_snapshot(folder: Path, info: CheckpointInfo) -> dict[str, Tensor]:
    """What `save_checkpoint` was given.

    Raises:
        CheckpointError: missing, truncated or changed.
    """
    try:
        policy, moments = load(read_policy(folder, info)), load(_read_file(folder, MOMENTS, info))
    except SafetensorError as error:
        raise CheckpointError(f"checkpoint {folder} is damaged: {error}") from error
    return {**{f"{PREFIX}{name}": tensor for name, tensor in policy.items()}, **moments}


def with_statistics(snapshot: Mapping[str, Tensor], policy: Policy) -> dict[str, Tensor]:
    """A snapshot with what one from before images had statistics lacks; see `absent_statistics`."""
    names = {name.removeprefix(PREFIX) for name in snapshot if name.startswith(PREFIX)}
    return {**snapshot, **{f"{PREFIX}{n}": tensor for n, tensor in absent_statistics(policy, names).items()}}


def checkpoint_to_resume(run_folder: Path, *, deterministic: bool) -> Path:
    """The newest checkpoint of a run; of a deterministic one the newest that an epoch began with, where there is one.

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
    snapshot = with_statistics(read_snapshot(folder, info), policy)
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
        found = snapshot.get(f"{PREFIX}{name}")
        if found is None or found.shape != own.shape:
            shape = "missing" if found is None else str(list(found.shape))
            raise CheckpointError(
                f"checkpoint {folder} is of another network: {name} is {shape}, expected {list(own.shape)}; "
                "model.encoder_units and model.encoder must be the same"
            )
