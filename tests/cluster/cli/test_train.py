"""`quintet train`: runs that are repeated exactly, changed while they go on, and begun again."""

from __future__ import annotations

import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from quintet.cluster.assembly import begin, look_at_game
from quintet.cluster.board import Board
from quintet.cluster.cli.train import _prepare
from quintet.cluster.recorder import Recorder
from quintet.cluster.request import ControllerRequest, TrainRequest
from quintet.cluster.service import open_or_create
from quintet.control import run_folder as run_folder_module
from quintet.control.config import ConfigError, RunConfig, load_config, parse_config
from quintet.control.errors import UsageError
from quintet.control.journal import read_journal
from quintet.control.live_settings import LiveConfig, SettingsWatch, take_in_requests
from quintet.control.run_folder import RunFolder, create_run
from quintet.control.sinks import read_jsonl
from quintet.optimizer.settings_in_force import SettingsReader
from quintet.wire.memory_link import MemoryLink
from quintet.wire.settings import BEFORE_ALL
from tests.support.live_run import PATIENCE_S, LiveRun, assert_conserved, live_run, quintet

BUDGET = "--agent-steps=14000"
DETERMINISTIC = ("--deterministic", BUDGET, "--seed=3")


def loss_rows(run: LiveRun) -> dict[int, dict[str, float]]:
    """agent_steps -> the losses that were reported then, by the last who did."""
    rows = read_jsonl(run.folder / "metrics.jsonl")
    return {
        int(row["agent_steps"]): {key: row[key] for key in row if key.startswith("losses/")}
        for row in rows
        if "losses/policy_loss" in row
    }


def result(run: LiveRun) -> tuple[int, int, dict[str, str]]:
    """How far the run came, and the hashes of its last weights, moments and generators."""
    info = run.checkpoint()
    return info["agent_steps"], info["batches"], info["sha256"]


@pytest.mark.slow
def test_a_run_killed_in_parts_and_as_a_whole_comes_to_the_bits_of_one_that_never_stopped(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with live_run(tmp_path / "one", *DETERMINISTIC) as undisturbed:
        assert undisturbed.process.wait(2 * PATIENCE_S) == 0, undisturbed.output.read_text()
    with live_run(tmp_path / "other", *DETERMINISTIC) as run:
        run.wait_for(lambda: run.versions_unsaved() > 1, "training past a checkpoint")
        run.find("optimizer --run-folder").kill()
        run.wait_for(lambda: run.journal("resumed"), "waiting for the optimizer to come back")
        run.wait_for_versions(4)
        for process in run.family():
            process.kill()
        run.process.wait()
    saved = run.checkpoint()
    with live_run(tmp_path / "other", "--resume") as resumed:
        assert resumed.process.wait(2 * PATIENCE_S) == 0, resumed.output.read_text()
    assert saved["agent_steps"] < 14_000
    assert result(resumed) == result(undisturbed)
    expected, found = loss_rows(undisturbed), loss_rows(resumed)
    shared = expected.keys() & found.keys()  # a report may get lost on a busy machine; a number may not differ
    assert len(shared) >= 15
    assert {steps: found[steps] for steps in shared} == {steps: expected[steps] for steps in shared}
    assert_conserved(resumed.summary())


@pytest.mark.slow
def test_a_change_holds_from_the_next_update_on_and_outlives_the_optimizer(tmp_path: Path) -> None:
    def rates() -> list[float]:
        return [
            row["losses/learning_rate"] for row in read_jsonl(run.folder / "metrics.jsonl") if "losses/entropy" in row
        ]

    with live_run(tmp_path, "--set", "ppo.learning_rate=1e-4") as run:
        run.wait_for(rates, "waiting for the first update")
        done = quintet("set", "learning_rate=2e-4", "ppo.target_kl=0.5", cwd=tmp_path)
        assert (done.returncode, "ppo.learning_rate: 0.0001 -> 0.0002" in done.stdout) == (0, True), done
        refused = quintet("set", "ppo.clip=0.1", "model.lstm_units=4", cwd=tmp_path)
        assert (refused.returncode, "fixed when a run is made" in refused.stderr) == (2, True), refused
        (event,) = run.wait_for(lambda: run.journal("set"), "waiting for the change")
        assert event["data"]["changes"] == {"ppo.learning_rate": ["0.0001", "0.0002"], "ppo.target_kl": ["0", "0.5"]}
        assert "@" in event["data"]["by"]
        run.wait_for(lambda: rates()[-1] == 2e-4, "waiting for the change in the numbers")
        by_steps = {
            int(row["agent_steps"]): row["losses/learning_rate"]
            for row in read_jsonl(run.folder / "metrics.jsonl")
            if "losses/entropy" in row
        }
        assert {rate for steps, rate in by_steps.items() if steps > event["agent_steps"]} == {2e-4}
        assert {rate for steps, rate in by_steps.items() if steps <= event["agent_steps"]} == {1e-4}
        run.find("optimizer --run-folder").kill()
        known = len(rates())
        run.wait_for(lambda: len(rates()) > known + 2, "training again")
        assert set(rates()[known:]) == {2e-4}
        assert load_config(run.folder / "config.toml").ppo.learning_rate.value == 2e-4
        assert run.interrupt() == 130, run.output.read_text()
    assert parse_config(run.checkpoint()["config"]).ppo.learning_rate.value == 2e-4


# ---- what a command line means for a run that is there ----


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def made(name: str, text: str = "seed = 7\n") -> RunFolder:
    """A run as `quintet train` leaves it."""
    folder = create_run(name, "")
    with folder.locked():
        folder.config.write_text(text)
    return run_folder_module.open_run(name)


def prepare(**request: Any) -> tuple[RunConfig, RunFolder]:
    return _prepare(TrainRequest(**request))


@pytest.mark.parametrize("override", ["device=gpu", "until=foo=3", "ppo.discount=1.5", "minutes=0", "track=true"])
def test_what_can_be_known_to_be_wrong_is_refused_before_there_is_a_run(
    override: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quintet.control.config.find_spec", lambda _: None)  # nobody has wandb
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        prepare(run="a", overrides=(override,))
    assert not runs.exists()


def test_restart_begins_the_same_configuration_under_the_next_free_name(runs: Path) -> None:
    made("a")
    config, folder = prepare(run="a", restart_behavior="restart")
    assert (config.seed, folder.path.resolve(), folder.is_bare) == (7, runs / "a-2", True)
    made("a-2")
    assert prepare(run="a-2", restart_behavior="restart")[1].run == "a-3"
    assert (runs / "a" / "config.toml").read_text() == "seed = 7\n"


def test_overwrite_deletes_the_run_and_takes_its_configuration_or_another(runs: Path) -> None:
    folder = made("a")
    (folder.path / "metrics.jsonl").write_text("old")
    config, folder = prepare(run="a", restart_behavior="overwrite", overrides=("ppo.clip=0.1",))
    assert (config.seed, config.ppo.clip, folder.is_bare) == (7, 0.1, True)
    made("b")
    assert prepare(run="b", restart_behavior="overwrite", config=Path("tic_tac_toe.toml"))[0].game.endswith(
        "tictactoe_v3"
    )


def test_overwrite_never_deletes_what_is_trained_or_no_runs_or_not_named(runs: Path) -> None:
    folder = made("a")
    with folder.locked(), pytest.raises(UsageError, match="is being trained now and is not deleted"):
        prepare(run="a", restart_behavior="overwrite")
    with pytest.raises(UsageError, match="say which, with --run NAME"):
        prepare(restart_behavior="overwrite")
    with pytest.raises(UsageError, match="there is no run b"):
        prepare(run="b", restart_behavior="overwrite")
    (runs / "mine").mkdir()
    (runs / "mine" / "config.toml").write_text("seed = 7\n")
    with pytest.raises(UsageError, match="was not made by `quintet train`"):
        prepare(run="mine", restart_behavior="overwrite")
    checkpoint = folder.checkpoints / "000001"
    checkpoint.mkdir(parents=True)
    with pytest.raises(UsageError, match="which is to be deleted"):
        prepare(run="a", restart_behavior="overwrite", start_from=checkpoint)
    assert folder.config.is_file()


def test_a_bad_configuration_deletes_nothing(runs: Path) -> None:
    folder = made("a")
    with pytest.raises(Exception, match="no key"):
        prepare(run="a", restart_behavior="overwrite", overrides=("nonsense=1",))
    assert folder.config.is_file()


def test_a_name_that_is_taken_says_what_can_be_done(runs: Path) -> None:
    made("a")
    with pytest.raises(UsageError, match=r"--run a --resume.*--restart-behavior restart .* or overwrite"):
        prepare(run="a")
    assert run_folder_module.open_run("a").run == "a"


def test_resume_and_another_behavior_at_once_are_refused(tmp_path: Path) -> None:
    done = quintet("train", "--resume", "--restart-behavior", "overwrite", "--run", "a", cwd=tmp_path)
    assert (done.returncode, "say different things" in done.stderr) == (2, True), done


def test_a_deterministic_run_has_one_worker(tmp_path: Path) -> None:
    done = quintet("train", "--deterministic", "--workers", "2", "--cores-per-worker", "0.1", cwd=tmp_path)
    assert (done.returncode, "such a run has one: --workers 1" in done.stderr) == (2, True), done


# ---- what is derived from the game ----


def test_nothing_is_derived_for_a_run_that_goes_on_or_begins_again_with_its_own_configuration(runs: Path) -> None:
    made("a")  # of a time when there were no such rules, and fewer keys
    asked: dict[str, Any] = {"run": "a", "overrides": ("agent_steps=50_000",)}
    own = [prepare(**asked, restart_behavior=behavior)[0] for behavior in ("resume", "restart", "overwrite")]
    for config in own:
        look = look_at_game(config, None)
        assert (look.derived, look.config) == ((), RunConfig(seed=7, agent_steps=50_000))
    made("b")
    other = prepare(run="b", restart_behavior="restart", config=Path("cartpole_memory.toml"))[0]
    assert look_at_game(other, None).config.rollout.games_per_worker == 32
    made("c")
    continued = open_or_create(ControllerRequest(run="c", overrides=("agent_steps=50_000",)))[0]
    assert look_at_game(continued, None).config == own[0]
    begun = open_or_create(ControllerRequest(run="d", overrides=("agent_steps=50_000",)))[0]
    assert look_at_game(begun, None).config.optimizer.batch_steps == 512


def test_config_toml_begins_with_what_was_derived_and_serves_another_run(runs: Path) -> None:
    config, folder = prepare(run="a", overrides=("agent_steps=50_000", "ppo.clip=0.1"))
    look, link, said = look_at_game(config, None), MemoryLink("a"), StringIO()
    config, recorder = begin(link, look.config, look, folder, Board(Console(file=said, width=200)), time.monotonic())
    first, *_ = lines = [f"# derived: {line}" for line in look.derived]
    assert first == "# derived: optimizer.batch_steps = 512: so that the budget makes about 98 versions"
    assert folder.config.read_text().splitlines()[: len(lines)] == lines
    assert all(str(line) in said.getvalue() for line in look.derived)
    again = look_at_game(prepare(run="b", config=folder.config)[0], None)
    assert (again.derived, again.config) == ((), config)
    link.request_settings({"ppo.epochs": "9"}, by="ada@lab")
    recorder.settings.accept()
    recorder.settings.look()
    left = [line for line in folder.config.read_text().splitlines() if line.startswith("#")]
    assert left == [line for line in lines if "ppo.epochs" not in line]
    assert load_config(folder.config).ppo.epochs == 9
    recorder.close()


# ---- settings that were asked for ----


def test_what_was_asked_for_stands_in_config_toml_soon_after(runs: Path) -> None:
    folder, link = made("a"), MemoryLink("a")
    watch = SettingsWatch(folder, load_config(folder.config), link)
    assert not watch.look()
    watch.accept()
    link.request_settings({"ppo.clip": "0.1"}, by="ada@lab")
    link.request_settings({"model.lstm_units": "4"}, by="ada@lab")  # nobody of ours sends this
    assert watch.look()
    assert not watch.look()
    assert load_config(folder.config) == watch.config
    assert (watch.config.seed, watch.config.ppo.clip, watch.config.model) == (7, 0.1, RunConfig().model)


def test_a_configuration_stands_in_config_toml_once_the_optimizer_has_taken_it(runs: Path) -> None:
    link = MemoryLink("a")
    link.beat("optimizer", {"version": 3})  # of the run's last life
    time.sleep(0.01)
    watch = SettingsWatch(made("a"), parse_config("seed = 8"), link)
    link.request_settings({"ppo.clip": "0.1"}, by="ada@lab")
    assert watch.look()
    watch.look_for_optimizer(link.heartbeats())
    assert load_config(runs / "a" / "config.toml").seed == 7
    link.beat("optimizer", {"version": 4})
    watch.look_for_optimizer(link.heartbeats())
    assert load_config(runs / "a" / "config.toml") == watch.config
    assert (watch.config.seed, watch.config.ppo.clip) == (8, 0.1)


def test_a_new_run_is_found_by_others_at_once_and_free_again_when_it_is_refused(runs: Path) -> None:
    def begin(folder: RunFolder, *, taken: bool) -> None:
        with folder.locked(), folder.free_if_refused():
            folder.propose_config("seed = 7\n")
            assert run_folder_module.open_run(folder.run).is_live
            if taken:
                folder.write_config("seed = 7\n")
            raise UsageError("refused")

    refused, played = create_run("a", ""), create_run("b", "")
    with pytest.raises(UsageError, match="refused"):
        begin(refused, taken=False)
    with pytest.raises(UsageError, match="refused"):
        begin(played, taken=True)
    assert (refused.path.exists(), played.config.is_file()) == (False, True)


def test_a_resume_takes_in_what_was_asked_for_and_what_it_is_told_is_the_last_word() -> None:
    link = MemoryLink("a")
    link.request_settings({"ppo.clip": "0.1", "ppo.epochs": "3"}, by="ada@lab")
    last = link.request_settings({"agent_steps": "500"}, by="ada@lab")
    told = parse_config("", overrides=["ppo.epochs=2"])
    config, through = take_in_requests(link, told, ["ppo.epochs=2"], resumed=True)
    assert (config.ppo.clip, config.ppo.epochs, config.agent_steps, through) == (0.1, 2, 500, last)
    assert take_in_requests(link, told, ["ppo.epochs=2"], resumed=False) == (told, last)


def test_a_change_is_journalled_with_who_when_and_from_which_agent_step_and_moves_the_runs_end(runs: Path) -> None:
    folder, link = made("a"), MemoryLink("a")
    link.open_run(spec_hash="a", config_text="", max_queued_steps=1, max_queue_bytes=1)
    config = load_config(folder.config, ["until=charts/episodic_return=9"])
    board = Board(Console(file=StringIO()))
    recorder = Recorder(folder=folder, config=config, link=link, board=board, started_s=time.monotonic())
    link.request_settings({"until": "losses/policy_loss=0.4", "minutes": "90"}, by="ada@lab")
    (asked,) = link.settings(BEFORE_ALL)
    settings = SettingsReader(LiveConfig(config))
    assert settings.take([asked], lambda data: link.report("optimizer", "event", data), agent_steps=70)
    link.report("optimizer", "metrics", {"version": 1, "agent_steps": 80, "losses/policy_loss": 0.5})
    recorder.tick(wanted=1, live=1)
    assert (recorder.config.minutes, recorder.finished()) == (90.0, "reached losses/policy_loss=0.4")
    recorder.close()
    (event,) = [event for event in read_journal(folder.journal) if event.kind == "set"]
    assert (event.agent_steps, event.time_s, event.process) == (70, asked.time_s, "optimizer")
    assert event.data["by"] == "ada@lab"
    assert event.data["changes"]["minutes"] == ["none", "90"]
