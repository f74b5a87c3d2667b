"""Pictures as SVG and as PNG: the PNG shows what the SVG says, and axes put numbers where they belong."""

from __future__ import annotations

import io
import itertools
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from quintet.control.config import parse_config
from quintet.explain.network import policy_svg
from quintet.explain.plots.axes import Axes, Scale, bars
from quintet.explain.plots.picture import Picture, diverging
from quintet.explain.plots.rasterize import dashed, font, png
from quintet.explain.subject import fresh_subject


def pixels(picture: Picture, scale: float = 2.0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(png(picture.svg(), scale))).convert("RGB"))


def test_every_shape_is_where_and_as_the_svg_says() -> None:
    picture = Picture(100, 60)
    picture.box(10, 10, 20, 20, "#ff0000")
    picture.dot(60, 20, 8, "#0000ff")
    picture.line([(0, 50), (100, 50)], "#00aa00", 4)
    picture.area([(80, 10), (96, 10), (96, 30)], "#ff00ff")
    seen = pixels(picture)
    assert seen.shape == (120, 200, 3)
    assert seen[40, 40].tolist() == [255, 0, 0]
    assert seen[40, 120].tolist() == [0, 0, 255]
    assert seen[100, 100].tolist() == [0, 170, 0]
    assert seen[30, 186].tolist() == [255, 0, 255]
    assert seen[5, 5].tolist() == [255, 255, 255]


def test_a_grid_of_colours_comes_back_cell_by_cell() -> None:
    colors = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 0]]], np.uint8)
    picture = Picture(40, 40)
    picture.pixels(0, 0, 40, 40, colors)
    seen = pixels(picture, 1.0)
    assert np.array_equal(seen[10::20, 10::20], colors)


def test_words_leave_ink_where_they_stand_level_and_upright() -> None:
    for upwards in (False, True):
        picture = Picture(100, 100)
        picture.words(50, 50, "HHHH", 20, "#000000", anchor="middle", upwards=upwards)
        ink = np.argwhere(pixels(picture, 1.0).sum(axis=2) < 300)
        height, width = ink.max(axis=0) - ink.min(axis=0)
        assert (height > width) == upwards
        middle = (ink.max(axis=0) + ink.min(axis=0)) / 2
        assert abs(middle[0 if upwards else 1] - 50) <= 3
    face, _ = font(20, bold=False)
    assert face.getlength("HHHH") > 0


def test_text_that_means_something_in_xml_does_no_harm() -> None:
    picture = Picture(50, 50)
    picture.words(5, 20, "<script> & '\"")
    root = ElementTree.fromstring(picture.svg())
    assert [element.text for element in root.iter() if element.tag.endswith("text")] == ["<script> & '\""]


def test_an_element_that_cannot_be_drawn_is_named() -> None:
    with pytest.raises(ValueError, match="cannot draw <ellipse>"):
        png("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><ellipse/></svg>")


def test_a_networks_drawing_becomes_a_png() -> None:
    subject = fresh_subject(parse_config('game = "counting"\n[model]\nlstm_units = 8\n'))
    image = Image.open(io.BytesIO(png(policy_svg(subject.spec, subject.config.model), 0.5)))
    assert min(image.size) > 50
    assert len(image.convert("RGB").getcolors(100_000) or []) > 20


def test_dashes_are_as_long_as_they_should_be() -> None:
    strokes = dashed([(0, 0), (10, 0), (10, 10)], [4, 2])
    lengths = [sum(abs(b[0] - a[0]) + abs(b[1] - a[1]) for a, b in itertools.pairwise(s)) for s in strokes]
    assert lengths == pytest.approx([4, 4, 4, 2])
    assert strokes[1][0] == (6, 0)


@pytest.mark.parametrize("log", [False, True])
def test_scales_put_their_ends_at_their_ends_and_ticks_between(log: bool) -> None:
    scale = Scale(0.01, 100, 30, 330, log)
    assert (scale(0.01), scale(100)) == pytest.approx((30, 330))
    ticks = scale.ticks()
    assert len(ticks) >= 3
    assert all(0.01 <= tick <= 100 for tick in ticks)
    assert ticks == sorted(ticks)
    if log:
        assert scale(1) == pytest.approx(180)
        assert scale(0) == pytest.approx(30), "what is below the scale stands at its end"


def test_lines_stay_inside_their_axes_and_break_at_what_is_unknown() -> None:
    picture = Picture(100, 100)
    axes = Axes(picture, (10, 10), (80, 80), x_range=(0, 3), y_range=(0, 1))
    axes.plot([0, 1, 2, 3], [0.5, float("nan"), 9.0, -9.0], "#000000")
    lines = [e.get("points") for e in ElementTree.fromstring(picture.svg()).iter() if e.tag.endswith("polyline")]
    assert lines == ["10,50", "63.3,10 90,90"]


def test_a_chart_of_nothing_but_one_number_is_drawn_all_the_same() -> None:
    picture = Picture(100, 100)
    axes = Axes(picture, (10, 10), (80, 80), x_range=(0, 0), y_range=(3, 3))
    axes.frame(title="flat")
    axes.plot([0], [3], "#000000")
    assert "flat" in picture.svg()
    assert bars(picture, (0, 0), 50, [], label_width=10) == 0


def test_colours_of_numbers_run_from_blue_over_white_to_red() -> None:
    low, zero, high = diverging(np.array([-1.0, 0.0, 1.0]), 1.0).astype(int)
    assert low[2] > low[0]
    assert zero.tolist() == [255, 255, 255]
    assert high[0] > high[2]
