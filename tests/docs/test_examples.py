"""The examples in README.md and docs/ run, and the test that says so can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.examples import examples, run_examples
from tests.docs.pages import ROOT, pages

ENVIRONMENT = """
```python title="my_env.py"
import gymnasium
import numpy as np


class MyEnv(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), float("nan"), True, False, {}
```

    quintet check my_env:MyEnv
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run(page: Path, folder: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if examples(text):
        run_examples(text, folder)


def test_an_example_that_fails_is_found(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run_examples("```python\nhalf = 1\n```\n\n```python\nhalf / 0\n```\n", folder)


def test_an_environment_that_a_page_shows_is_checked(folder: Path) -> None:
    with pytest.raises(AssertionError, match="quintet check my_env:MyEnv ended with 2"):
        run_examples(ENVIRONMENT, folder)
