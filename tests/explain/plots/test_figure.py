"""Pictures as SVG and as PNG: of the size that was asked for, the same each time, harmless, and readable."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from quintet.explain.plots.figure import BLUE, HEAD, PIXELS, WIDTH, bars, caption, new_figure, png, styled, svg
from tests.support.figure_words import words_of


@styled
def chart() -> Figure:
    figure = new_figure(300, "<script> & '\"", "$a$, 5 − 3")
    upper, lower = figure.subplots(2, 1)
    upper.plot([0.5, float("nan"), 9.0, -9.0], label="line")
    caption(upper, "a title", "a note")
    bars(lower, [("a" * 99, 0.5, "half", BLUE)], full=1.0, room=3)
    return figure


def test_an_svg_has_the_pictures_size_and_its_words() -> None:
    text = svg(chart())
    assert text.startswith("<svg")
    root = ElementTree.fromstring(text)
    assert (root.get("width"), root.get("height")) == (str(WIDTH), "300")
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"<script> & '\"", "$a$, 5 − 3", "a title", "a note", "half"} <= set(words)


def test_the_same_picture_is_the_same_file() -> None:
    assert svg(chart()) == svg(chart())
    assert png(chart()) == png(chart())


def test_a_png_shows_the_picture_on_white() -> None:
    image = Image.open(io.BytesIO(png(chart()))).convert("RGB")
    assert image.size == (round(WIDTH * PIXELS), round(300 * PIXELS))
    pixels = np.asarray(image)
    assert pixels[-1, 0].tolist() == [255, 255, 255]
    assert (pixels[: int(HEAD * PIXELS)].sum(axis=2) < 300).any(), "the title leaves ink"
    assert (np.abs(pixels.astype(int) - (0x00, 0x72, 0xB2)).max(axis=2) < 12).any(), "the bar is blue"


def test_a_bar_is_as_long_as_its_number_and_a_long_label_loses_its_end() -> None:
    axes = chart().axes[1]
    (bar,) = axes.patches
    assert bar.get_window_extent().width == np.float64(0.5) * axes.get_window_extent().width
    (label,) = axes.get_yticklabels()
    assert label.get_text().endswith("a…")
    assert len(label.get_text()) < 60


@styled
def test_a_long_title_is_set_smaller_until_it_fits() -> None:
    sizes = []
    for title in ("short", "pettingzoo:pettingzoo.classic.a_game_with_a_very_long_name_v3, version 1" * 2):
        figure = new_figure(200, title, "")
        ((text, place),) = words_of(figure)
        assert text == title
        assert place.x1 <= WIDTH
        sizes.append(float(figure.texts[0].get_fontsize()))
    assert sizes[0] == 17 > sizes[1]


def test_the_look_is_the_pictures_own() -> None:
    before = dict(matplotlib.rcParams)
    svg(chart())
    assert dict(matplotlib.rcParams) == before
