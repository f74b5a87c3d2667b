"""The commands that look at what was learned: eval, explain, watch."""

from __future__ import annotations

import os
from typing import Annotated

from tyro.conf import arg

from quintet.control.errors import DONE
from quintet.evaluation.request import EvalRequest, WatchRequest
from quintet.explain.request import ExplainRequest


def evaluate(request: Annotated[EvalRequest, arg(name="")]) -> int:
    """Have a checkpoint or a bot play whole games: win rates per seat with 95 % intervals, or mean returns.

    The same command gives the same numbers.
    """
    from quintet.cluster.processes.optimizer import PASSIVE_WAIT

    os.environ.update(PASSIVE_WAIT)  # before torch is loaded
    from quintet.evaluation.evaluate import carry_out

    carry_out(request)
    return DONE


def explain(request: Annotated[ExplainRequest, arg(name="")]) -> int:
    """Explain a network and what goes on in it while it plays: a picture (SVG and PNG) and two paragraphs."""
    from quintet.cluster.processes.optimizer import PASSIVE_WAIT

    os.environ.update(PASSIVE_WAIT)  # before torch is loaded
    from quintet.explain.command import carry_out

    carry_out(request)
    return DONE


def watch(request: Annotated[WatchRequest, arg(name="")]) -> int:
    """Show a game of skirmish: a replay, or one that is played now. In the terminal, or as a film."""
    from quintet.cluster.processes.optimizer import PASSIVE_WAIT

    os.environ.update(PASSIVE_WAIT)  # before torch is loaded
    from quintet.evaluation.watch import watch as carry_out

    carry_out(request)
    return DONE
