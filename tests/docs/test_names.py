"""Whatever README.md and docs/ name exists, and the test that says so can fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.faults import faults, faults_of_reference
from tests.docs.pages import ROOT, pages
from tests.docs.tree import tree

PAGE = ROOT / "docs" / "page.md"  # which there need not be


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_whatever_a_page_names_exists(page: Path) -> None:
    assert faults(page.read_text(encoding="utf-8"), page) == []


def test_whatever_the_code_names_in_backticks_exists() -> None:
    found = [
        f"{path}:{number}: {fault}"
        for path in tree().sources()
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), start=1)
        for name in re.findall(r"`([^`]+)`", line)
        for fault in faults_of_reference(name)
    ]
    assert found == []


@pytest.mark.parametrize(
    "name", ["quintet.wire.chonk", "Chunker.ad_d", "wire/chonk.py", "quintet.wire.chunk.Chonk", "chonk"]
)
def test_a_name_in_the_code_that_does_not_exist_is_found(name: str) -> None:
    assert len(list(faults_of_reference(name))) == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("`quintet trane --seed 1`", "there is no command quintet trane"),
        ("`quintet train --sede 1`", "--sede"),
        ("`quintet train --seed one`", "one"),
        ("`quintet eval --greedy runs/A --opponent`", "--opponent"),
        ("`quintet train --set ppo.learning_rat=1e-4`", "did you mean ppo.learning_rate?"),
        ("`quintet train --set ppo.epochs=many`", "expected a whole number"),
        ("`quintet train --config laptob.toml`", "there is no configuration file laptob.toml"),
        ("`quintet train --until charts/episodic_return`", "until"),
        ("`quintet train --until charts/episodic_retun=3`", "charts/episodic_return"),
        ("`quintet set model.lstm_units=64`", "fixed when a run is made"),
        ("`quintet explain memory runs/A`", "memory"),
        ("`quintet explain model --set model.lstm_unit=64`", "did you mean model.lstm_units?"),
        ("`--gready`", "no command has an option --gready"),
        ("`--games 10 --seed`", "--seed"),
        ("`--set model.zero_stat=true`", "did you mean model.zero_state?"),
        ("    quinted train\n    quintet status", "'quinted' is no program"),
        ("    quintet train --minutes 1 \\\n        --workerz 3", "--workerz"),
        ("```bash\nquinted train\n```", "'quinted' is no program"),
        ("```console\n$ quintet statis --json\nrun x\n```", "there is no command quintet statis"),
        ("```toml\n[ppo]\nepoch = 2\n```", "did you mean ppo.epochs?"),
        ("    game = 3", "game is 3"),
        ("```python\nfrom quintet.games.api import VektorGame\n```", "there is no quintet.games.api.VektorGame"),
        ("```python\nfor:\n```", "no Python"),
        ("`make tests`", "make has no target tests"),
        ("`pip install 'quintet[tracks]'`", "there is no extra tracks"),
        ("`python -m tests.print_threes`", "there is no module tests.print_threes"),
        ("`python benchmarks/end_to_ends.py`", "there is no file benchmarks/end_to_ends.py"),
        ("`python benchmarks/end_to_end.py --lstm-unit-count 3`", "has no option --lstm-unit-count"),
        ("`docker compose exec controler quintet status`", "no service controler"),
        ("`docker compose exec controller quintet state`", "there is no command quintet state"),
        ("`QUINTET_DASHBOARD_TOKENS`", "nothing reads QUINTET_DASHBOARD_TOKENS"),
        ("`QUINTET_AUTO_PRECISIONS=float32`", "nothing reads QUINTET_AUTO_PRECISIONS"),
        ("`games/apis.py`", "games/apis.py"),
        ("`configs/*.yaml`", "configs/*.yaml"),
        ("`laptob.toml`", "there is no file laptob.toml"),
        ("`runs/NAME/metrics.json`", "runs/NAME/metrics.json"),
        ("`/metric`", "nothing answers at /metric"),
        ("`charts/episodic_returns`", "charts/episodic_returns"),
        ("`quintet_charts_episodic_returns`", "quintet_charts_episodic_returns"),
        ("`ppo.discont`", "nothing is called ppo.discont"),
        ("`model.precision=bfloat8`", "expected one of"),
        ("`normalise_advantages = true`", "nothing is called normalise_advantages"),
        ("`quintet.games.api.VektorGame`", "nothing is called quintet.games.api.VektorGame"),
        ("`games.contrakt`", "nothing is called games.contrakt"),
        ("`VectorGame.leap`", "nothing is called VectorGame.leap"),
        ("`ChunkMerchant`", "nothing is called ChunkMerchant"),
        ("`collate_chunks()`", "nothing is called collate_chunks"),
        ("`gimnasium:CartPole-v1`", "no family of games"),
        ("`tests.unit_envz:Aim-v0`", "there is no module tests.unit_envz"),
        ("`run NAME is trained by nobody`", "nothing says: run NAME is trained by nobody"),
        ("`checkpoints/newer`", "checkpoints/newer"),
        ("[cluster](clutser.md)", "there is no clutser.md"),
        ("![picture](images/nothing.png)", "there is no images/nothing.png"),
        ("[two](#two)", "has no heading #two"),
        ("    some words", "say what this block holds"),
        ("[settings](configuration.md#ramp)", "configuration.md has no heading #ramp"),
        ("[the start](../README.md)", "outside docs/"),
    ],
)
def test_what_does_not_exist_is_found_with_its_line(text: str, complaint: str) -> None:
    (found,) = faults(f"A line.\n\n{text}\n", PAGE)
    assert found.startswith("page.md:3: ")
    assert complaint in found


@pytest.mark.parametrize(
    "text",
    [
        "`quintet status --watch --run NAME [--redis-url URL]`",
        "`quintet scale N` and `quintet scale --auto MIN:MAX`",
        "    QUINTET_METRICS_TOKEN=... quintet exporter --host 0.0.0.0     # beyond loopback",
        "`--set 'game_options.wrappers=[\"my_package:MyWrapper\"]'`",
        "`charts/episodic_return`, `heads/move/entropy`, `phase/<process>/<phase>_s`, `steps/*`",
        "`quintet.optimizer.learner.Learner.update` is `Learner.update`",
        "`run NAME exists already`, `checkpoint ... is computed in ..., but model.precision is ...`",
        "`runs/NAME/checkpoints/NUMBER`, `league/evaluations.jsonl`, `--from ... --set model.precision=...`",
        "`(3, 4)`, `r + γ v'`, `N`, `x`, `A | B`",
        "# A: heading, of `code`\n\n[there](#a-heading-of-code), [elsewhere](https://example.org/x#y)",
    ],
)
def test_what_exists_or_stands_for_something_is_no_fault(text: str) -> None:
    assert faults(text, PAGE) == []
