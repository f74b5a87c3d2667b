"""The table of benchmarks/defaults.py: what is done and what is missing, what failed, who has reached what."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import defaults
import pytest
from learning import ours, sb3
from learning.children import ChildError, Children
from learning.report import Table, printed
from learning.results import CURVE_POINTS, OURS, SB3, Judged, Key, Result, append, reaches, read, thinned
from learning.tasks import TASKS
from rich.console import Console

ARGS = defaults.Args(tasks=("cartpole", "tictactoe"), seeds=(1, 2), who=(OURS, SB3))


def ran(key: Key, score: float, *, losses: int | None = None) -> Result:
    rate = None if losses is None else score
    judged = Judged(games=100, return_mean=score, return_error=0.1, win_rate=rate, losses=losses)
    return Result(key=key, greedy=judged, sampled=judged, curve=((10.0, 1.0), (20.0, score)), steps_played=20)


def text_of(table: Table) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(*printed(table), sep="\n", highlight=False)
    return captured.get()


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    key = Key(task="cartpole", seed=3, who=OURS, agent_steps=10, settings=("ppo.epochs=2",), in_process=True)
    results = [ran(key, 1.5, losses=2), Result(key=replace(key, seed=4), error="ended with 1: no such game")]
    for result in results:
        append(path, result)
    assert list(read(path)) == results


def test_a_line_cut_off_by_a_kill_is_done_again_and_the_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first, second = (ran(Key(task="cartpole", seed=seed, who=OURS), 1.0) for seed in (1, 2))
    append(path, first)
    append(path, second)
    path.write_text(path.read_text()[:-20])
    assert list(read(path)) == [first]
    append(path, second)
    assert list(read(path)) == [first, second]


def test_a_file_of_something_else_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"version": 1}\n')
    with pytest.raises(SystemExit, match=r"metrics.jsonl: record 1 is no result"):
        list(read(path))


def test_only_what_is_missing_is_done() -> None:
    keys = defaults.wanted(ARGS)
    assert [(key.task, key.seed, key.who) for key in keys] == [
        ("cartpole", 1, OURS), ("cartpole", 1, SB3), ("cartpole", 2, OURS), ("cartpole", 2, SB3),
        ("tictactoe", 1, OURS), ("tictactoe", 2, OURS),
    ]  # fmt: skip
    done = [ran(keys[0], 400.0), Result(key=keys[1], error="ended with 1")]
    assert defaults.missing(keys, done, retry_failed=False) == keys[2:]
    assert defaults.missing(keys, done, retry_failed=True) == keys[1:]


def test_other_settings_and_other_budgets_are_other_runs_but_not_of_the_other_side() -> None:
    for other in (replace(ARGS, set=("ppo.epochs=4",)), replace(ARGS, in_process=True)):
        mine, theirs = ({key for key in defaults.wanted(other) if key.who == who} for who in (OURS, SB3))
        assert not mine & set(defaults.wanted(ARGS))
        assert theirs <= set(defaults.wanted(ARGS))
    assert not set(defaults.wanted(replace(ARGS, share=0.5))) & set(defaults.wanted(ARGS))


def test_what_is_timed_comes_last() -> None:
    keys = defaults.wanted(replace(ARGS, tasks=("skirmish_1v1", "cartpole")))
    assert [key.timed for key in keys] == [False] * 4 + [True] * 2


def test_a_run_that_fails_is_a_row_and_counts_as_a_random_player() -> None:
    keys = [Key(task="cartpole", seed=seed, who=who) for seed in (1, 2, 3) for who in (OURS, SB3)]
    whole = [ran(key, 475.0) for key in keys]
    assert Table.of(whole).ours_shared == Table.of(whole).theirs
    failed = [Result(key=keys[0], error="ended with 1: out of memory"), *whole[1:]]
    table = Table.of(failed)
    mine = table.rows["cartpole"][OURS]
    assert mine.normalised() == [1.0, 1.0, 0.0]
    assert mine.passed is False
    assert mine.as_json()["worst"] is None
    text = text_of(table)
    assert "1 of 3 failed" in text
    assert "failed: cartpole, ours, seed 1: ended with 1: out of memory" in text


def test_a_task_at_which_the_other_side_fails_gives_us_no_ratio() -> None:
    keys = [
        Key(task=task, seed=seed, who=who) for task in ("cartpole", "acrobot") for seed in (1, 2) for who in (OURS, SB3)
    ]
    results = [ran(key, 475.0 if key.task == "cartpole" else -100.0) for key in keys]
    results[1] = Result(key=keys[1], error="ended with 1")
    table = Table.of(results)
    assert (table.shared, table.without_theirs) == (("acrobot",), ("cartpole",))
    assert "because a run of sb3's failed: cartpole" in text_of(table)


def test_a_ratio_to_somebody_no_better_than_random_is_not_given() -> None:
    table = Table.of([ran(Key(task="cartpole", seed=seed, who=who), 9.0) for seed in (1, 2) for who in (OURS, SB3)])
    assert "ours / sb3: none, for sb3 is no better than random" in text_of(table)
    assert table.as_json()["interquartile_mean"]["ratio"]["value"] is None


def test_the_worst_seed_decides() -> None:
    table = Table.of([ran(Key(task="cartpole", seed=seed, who=OURS), score) for seed, score in enumerate((500, 474))])
    mine = table.rows["cartpole"][OURS]
    assert (mine.passed, mine.as_json()["worst"], mine.as_json()["mean"]) == (False, 474, 487)
    assert "487.0 (474.0)" in text_of(table)


@pytest.mark.parametrize(
    ("task", "score", "error", "losses", "expected"),
    [
        ("cartpole", 475.0, 1.0, None, True),
        ("cartpole", 474.9, 1.0, None, False),
        ("tictactoe", 0.95, 0.0, 0, True),
        ("tictactoe", 0.95, 0.0, 1, False),
        ("tictactoe", 0.89, 0.0, 0, False),
        ("empty_5x5_image", 0.5, 0.01, None, True),
        ("empty_5x5_image", 0.5, 0.1, None, False),  # three of its errors above a random player
        ("simple_spread", 0.0, 1.0, None, None),
    ],
)
def test_bars(task: str, score: float, error: float, losses: int | None, expected: bool | None) -> None:
    rate = None if losses is None else score
    judged = Judged(games=100, return_mean=score, return_error=error, win_rate=rate, losses=losses)
    assert reaches(TASKS[task], judged) is expected


def test_every_task_has_what_it_is_judged_by() -> None:
    for task in TASKS.values():
        assert task.random is not None, f"{task.name}: python benchmarks/defaults.py --random --tasks {task.name}"
        assert task.solved is None or task.solved.score > task.random.score
        assert (task.agent_steps > 0) != (task.minutes is not None)
        assert task.solved is not None or task.sb3 is None
        least = task.least_score()
        assert least is None or least > task.random.score


def test_a_curve_is_thinned_to_its_end() -> None:
    points = [(float(step), 0.0) for step in range(10 * CURVE_POINTS + 7)]
    curve = thinned(points)
    assert CURVE_POINTS // 2 < len(curve) <= CURVE_POINTS
    assert curve[-1] == points[-1]
    assert thinned(points[:3]) == tuple(points[:3])


def test_our_command_sets_nothing_but_the_game() -> None:
    key = Key(task="cartpole_hidden", seed=2, who=OURS, agent_steps=250_000)
    words = ours.train_words(TASKS["cartpole_hidden"], key)[3:]
    wrapper = '{name = "quintet.games.adapters.wrappers:mask_observation", hide = [1, 3]}'
    assert words == [
        *("train", "--game", "gymnasium:CartPole-v1", "--set", f"game_options.wrappers=[{wrapper}]"),
        *("--seed", "2", "--agent-steps", "250000", "--run", "run", "--json", "--quiet", "--no-dashboard"),
    ]
    searched = ours.train_words(TASKS["cartpole"], Key(task="cartpole", seed=1, who=OURS, settings=("ppo.epochs=4",)))
    assert searched[searched.index("ppo.epochs=4") - 1] == "--set"


def test_torch_comes_first_into_the_environment_of_the_other_side_at_our_version() -> None:
    first, *rest = sb3.requirements()
    assert f"\n{first}\n" in Path("constraints.txt").read_text()
    names = {line.partition(">")[0] for line in rest}
    assert {"stable-baselines3", "sb3-contrib", "popgym", "minigrid", "gymnasium[box2d]"} <= names
    assert not names & {"mpe2", "scipy"}


def test_a_missing_python_of_the_other_side_is_one_line() -> None:
    with pytest.raises(SystemExit, match="--sb3-python is /nowhere/python; there is no program"):
        defaults.main(replace(ARGS, sb3_python="/nowhere/python"))


def test_an_unknown_task_is_one_line() -> None:
    with pytest.raises(SystemExit, match="--tasks: there is no cartpolo; there are cartpole, "):
        defaults.main(replace(ARGS, tasks=("cartpolo",)))


@pytest.mark.slow
def test_a_child_answers_with_its_last_line_or_with_why_not(tmp_path: Path) -> None:
    def run(code: str, limit_s: float | None = None) -> dict[str, object]:
        with Children() as children:
            return children.run([sys.executable, "-c", code], folder=tmp_path, env={}, limit_s=limit_s)

    assert run(f"print('on its way'); print({json.dumps(json.dumps({'a': 1}))})") == {"a": 1}
    with pytest.raises(ChildError, match=r"ended with 1: .*ValueError: broken"):
        run("raise ValueError('broken')")
    with pytest.raises(ChildError, match="printed no JSON: hello"):
        run("print('hello')")
    with pytest.raises(ChildError, match="printed no JSON"):
        run("import json; print(json.dumps({'mean': float('nan')}))")
    with pytest.raises(ChildError, match=r"not done after 0.5 s"):
        run("import time; time.sleep(300)", limit_s=0.5)


@pytest.mark.slow
def test_what_has_ended_starts_nothing_more(tmp_path: Path) -> None:
    with Children() as children:
        pass
    with pytest.raises(ChildError, match="ended"):
        children.run([sys.executable, "-c", "print(1)"], folder=tmp_path, env={})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_table_is_measured_in_pieces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.jsonl"
    args = defaults.Args(
        tasks=("cartpole",), seeds=(1,), who=(OURS,), share=0.1, games=2, in_process=True, results=str(results)
    )
    defaults.main(replace(args, json=True))
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["ratio"] is None  # nothing to compare with
    row = found["config"]["tasks"]["cartpole"][OURS]
    assert row["greedy"][0]["games"] == 2
    assert row["steps_played"][0] >= 10_000
    broken = replace(args, set=("ppo.epochs=0",), json=True)
    defaults.main(broken)
    failed = json.loads(capsys.readouterr().out.splitlines()[-1])["config"]["tasks"]["cartpole"][OURS]
    assert failed["errors"][0].startswith("seed 1: ended with 2: ")
    written = results.read_text()
    defaults.main(replace(args, json=True))
    assert results.read_text() == written
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["config"]["tasks"]["cartpole"][OURS] == row
