"""The latest row reaches readers without a run folder, on both links."""

from __future__ import annotations

import math

from tests.conftest import AnyLink, LinkMaker


def test_the_latest_row_is_read_as_it_was_kept(link: AnyLink) -> None:
    row = {"losses/entropy": 0.1 + 0.2, "version": 3.0, "game/win rate, team 1": 1e-9}
    link.keep_latest_row(row)
    assert link.latest_row() == row


def test_before_the_first_row_there_is_none(link: AnyLink) -> None:
    link.keep_latest_row({})
    assert link.latest_row() == {}


def test_a_newer_row_replaces_values_and_keeps_names_that_it_lacks(make_link: LinkMaker) -> None:
    writer, reader = make_link(), make_link()
    writer.keep_latest_row({"a": 1.0, "b": 2.0})
    writer.keep_latest_row({"a": 3.0})
    assert reader.latest_row() == {"a": 3.0, "b": 2.0}


def test_what_is_not_finite_stays_what_it_is(link: AnyLink) -> None:
    link.keep_latest_row({"nan": math.nan, "inf": math.inf})
    row = link.latest_row()
    assert math.isnan(row["nan"])
    assert row["inf"] == math.inf
