"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

Overrides = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")]
StartFrom = Annotated[Path | None, arg(name="from", metavar="CHECKPOINT")]
