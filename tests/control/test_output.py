"""A command's stdout holds its own words and no other's, and no terminal, pipe or disk that fails ends the command."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.layout.print_tree import ROOT

SAY = "from control import output; output.keep_stdout(); "


def run(code: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A program as a command is: `code` after the beginning of one; `shell` stands behind it on the command line."""
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {shell}', sys.executable, SAY + code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        check=False,
        timeout=60.0,
    )


def test_what_games_and_their_libraries_print_goes_to_stderr() -> None:
    done = run("import os; print('game'); os.system('echo child'); os.write(1, b'C\\n'); output.answer('{}')")
    assert (done.returncode, done.stdout, sorted(done.stderr.split())) == (0, b"{}\n", [b"C", b"child", b"game"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_the_console_cannot_show_is_replaced(encoding: str) -> None:
    code = "import sys; output.say('12 ━ 3'); print('– é'); print('≥', file=sys.stderr)"
    done = run(code, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout) == (0, b"12 ? 3\n")
    assert done.stderr.splitlines()[1:] == [b"?"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "said"),
    [
        ("| true", b""),  # whoever read it has gone: no error, as with `| head`
        ("2>&1 | true", b""),
        (">&- 2>&-", b""),
        (">/dev/full", b"quintet: nothing more is printed, all else goes on: No space left on device\n"),
        (">/dev/full 2>/dev/full", b""),
    ],
)
def test_a_command_whose_words_nobody_takes_goes_on_to_its_end(shell: str, said: bytes) -> None:
    code = "import sys, time; time.sleep(0.2); [output.say('x' * 70) for _ in range(9000)]; print('y' * 9000)"
    done = run(f"{code}; assert output.nobody_reads()", shell)
    assert (done.returncode, done.stderr.replace(b"y" * 9000 + b"\n", b"")) == (0, said)


@pytest.mark.parametrize("shell", [">/dev/full", "| true", ">&-"])
def test_an_answer_that_cannot_be_written_is_an_error(shell: str) -> None:
    done = run(
        "import time; time.sleep(0.2); output.say('board')\ntry: output.answer('{}')\n"
        "except output.OutputError: raise SystemExit(7)",
        shell,
    )
    assert done.returncode == 7


WITH_COMMANDS = [path for name in ("cluster", "evaluation", "explain") for path in sorted((ROOT / name).rglob("*.py"))]


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_print_through_it_alone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "Console"):
            assert {"file", "stderr"} & {word.arg for word in node.keywords}, f"{path.name}, line {node.lineno}"
