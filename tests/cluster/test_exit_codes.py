"""Exit codes: each class of error that a person can act on ends a run with a code of its own, a bug with none."""

from __future__ import annotations

import errno

import pytest

from quintet.cluster.processes.redis_server import EmbeddedRedisError
from quintet.control.config_reader import ConfigError
from quintet.control.errors import (
    CRASHED,
    FAILED,
    INTERRUPTED,
    USAGE,
    RunFailedError,
    UsageError,
    error_report,
    exit_code,
    faults_borne,
)
from quintet.games.api import (
    GameCodeError,
    GameContractError,
    GameDataError,
    GameError,
    MissingExtraError,
    UnknownGameError,
    UnsupportedSpaceError,
)
from quintet.games.skirmish.replay.file import ReplayError
from quintet.games.skirmish.replay.video import FilmError
from quintet.optimizer.checkpoint import CheckpointError
from quintet.optimizer.determinism import EpochBrokenError
from quintet.optimizer.learner import DeviceError
from quintet.optimizer.loop import TrainingDivergedError
from quintet.optimizer.number_format import NumberFormatError
from quintet.optimizer.rejections import AllRejectedError
from quintet.wire.errors import (
    DecodeError,
    LeaseHeldError,
    LeaseLostError,
    LinkAuthError,
    LinkDownError,
    LinkError,
    LinkSetupError,
    SpecMismatchError,
    WeightsRefusedError,
    WireError,
)

# class, exit code, how many ends of its workers by it a run bears
TABLE = [
    (UsageError, USAGE, None),
    (RunFailedError, FAILED, None),
    (ConfigError, USAGE, 0),
    (GameDataError, FAILED, 0),
    (GameCodeError, FAILED, 1),
    *((kind, USAGE, 0) for kind in (GameError, UnknownGameError, MissingExtraError, UnsupportedSpaceError)),
    *((kind, USAGE, 0) for kind in (GameContractError, ReplayError, FilmError)),
    *((kind, USAGE, 0) for kind in (SpecMismatchError, LinkAuthError, LinkSetupError, WeightsRefusedError)),
    *((kind, FAILED, None) for kind in (WireError, DecodeError, LinkError, LinkDownError, LeaseHeldError)),
    (LeaseLostError, FAILED, None),
    (EmbeddedRedisError, FAILED, None),
    (CheckpointError, FAILED, None),
    (DeviceError, USAGE, None),
    (NumberFormatError, USAGE, None),
    (TrainingDivergedError, FAILED, None),
    (AllRejectedError, FAILED, None),
    (EpochBrokenError, CRASHED, None),
    (OSError, FAILED, None),
    (KeyboardInterrupt, INTERRUPTED, None),
    (ValueError, None, None),
    (RuntimeError, None, None),
    (SystemExit, None, None),
]


@pytest.mark.parametrize(("kind", "code", "borne"), TABLE, ids=[row[0].__name__ for row in TABLE])
def test_every_error_keeps_its_code(kind: type[BaseException], code: int | None, borne: int | None) -> None:
    assert (exit_code(kind("said")), faults_borne(kind("said"))) == (code, borne)


def test_a_simulator_that_may_come_back_is_no_fault_that_is_counted() -> None:
    error = GameCodeError("its step raised TimeoutError")
    error.__cause__ = TimeoutError()
    assert (exit_code(error), faults_borne(error)) == (FAILED, None)


def test_a_report_is_text_that_travels_and_a_full_disk_is_said_in_words() -> None:
    report = error_report(GameDataError("the reward\nis nan"))
    assert report | {"traceback": ""} == {"error": "the reward is nan", "traceback": "", "exit_code": "1", "borne": "0"}
    assert "GameDataError" in report["traceback"]
    assert error_report(OSError(errno.ENOSPC, "No space", "x"))["error"].startswith("the disk is full at x")
    assert error_report(ValueError("boom"))["exit_code"] == "None"
