"""Figures as SVG: two layouts in one file, text that is legible on phones, colours of the page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from made_figures import history, make, measured, record_of
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from soteacher.report.drawing import colours
from soteacher.report.drawing.panels import GRID, INK, house_style
from soteacher.report.drawing.svg import WIDTHS
from soteacher.report.figures import figure_report, make_svg, reliability

SVG = "{http://www.w3.org/2000/svg}"
PAIRS = ("wrn_10_2", "wrn_16_2")
POINTS = [
    {"panel": pair, "series": series, "runs": [f"{pair}_{series}"]}
    for pair in PAIRS
    for series in ("standard", "soteacher")
]


@pytest.fixture(scope="module")
def svg() -> str:
    """The file of a figure with two panels."""
    runs = [run for point in POINTS for run in point["runs"]]
    _, table = make(
        "curves",
        POINTS,
        measured(**dict.fromkeys(runs, 0.6)),
        history(**{run: [0.5, 0.6] for run in runs}),
    )
    return make_svg(record_of("curves", POINTS), table)


@pytest.fixture(scope="module")
def root(svg) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def layout(root: ElementTree.Element, name: str) -> ElementTree.Element:
    [part] = [part for part in root.findall(f"{SVG}svg") if part.get("class") == name]
    return part


def test_a_file_has_a_wide_and_a_narrow_drawing_of_the_same_texts(root):
    wide, narrow = (layout(root, name) for name in WIDTHS)
    widths = [float(part.get("viewBox").split()[2]) for part in (wide, narrow)]
    assert widths == [504, 252]
    texts = [
        {text.text for text in part.iter(f"{SVG}text") if not re.match(r"[\d. ]+$", text.text)}
        for part in (wide, narrow)
    ]
    assert texts[0] == texts[1] > {"WRN10-2", "WRN16-2", "Standard", "SoTeacher", "Epoch"}
    assert (wide.get("display"), narrow.get("display")) == (None, "none")


def test_the_narrow_drawing_has_one_column_of_panels(root):
    def across(part):
        names = ("WRN10-2", "WRN16-2")
        first, second = (t.get("y") for t in part.iter(f"{SVG}text") if t.text in names)
        return first == second

    assert across(layout(root, "wide")) and not across(layout(root, "narrow"))


@pytest.mark.parametrize("name", ["wide", "narrow"])
def test_text_is_at_least_11_pixels_high_on_a_screen_that_shows_the_drawing(root, name):
    """A phone of 390 pixels has 358 for the figure; the wide one begins at 720, of which 32 go."""
    pixels = {"narrow": 358, "wide": 720 - 32}[name]
    part = layout(root, name)
    scale = pixels / float(part.get("viewBox").split()[2])
    texts = [element for element in part.iter() if element.tag in (f"{SVG}text", f"{SVG}tspan")]
    sizes = [float(re.search(r"font-size: ([\d.]+)px", text.get("style"))[1]) for text in texts]
    assert len(sizes) > 10
    assert min(sizes) * scale >= (11 if name == "narrow" else 10.9)


def test_who_does_not_see_a_figure_hears_its_title_and_its_numbers(root):
    assert (root.get("role"), root.get("aria-label")) == ("img", "A title.")
    description = root.find(f"{SVG}desc")
    assert root.get("aria-describedby") == description.get("id")
    assert "after the last epoch: WRN10-2, Standard 60.0 %; WRN10-2, SoTeacher 60.0 %" in (
        description.text
    )


def test_black_white_and_grid_follow_the_page(svg):
    used = set(re.findall(r"#[0-9a-f]{6}\b", svg))
    assert used == {colours.BLUE.lower(), colours.VERMILLION.lower()}
    assert not {INK.lower(), GRID.lower(), "#ffffff", "#000000"} & used
    assert "currentColor" in svg and "var(--background, Canvas)" in svg
    assert "black" not in svg and "white" not in svg


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("page", ["#ffffff", "#16181c"])
def test_every_colour_of_data_is_seen_on_light_and_dark_pages(page):
    chosen = {colour for colour, _ in [*colours.METHODS.values(), *colours.OTHERS]}
    chosen |= {line["color"] for line in reliability.LINES.values()}
    for colour in chosen:
        light, dark = sorted([luminance(colour), luminance(page)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 2, colour


def test_nothing_of_a_file_reaches_beyond_it_in_a_page(svg, root):
    """Ids are its own and used, rules name its id, and it loads nothing and has no date."""
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) > 3
    assert all(name.startswith("figure-figure1") for name in ids)
    references = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", svg))
    described = {"figure-figure1", "figure-figure1-description"}
    assert references | described == set(ids)
    [style] = root.iter(f"{SVG}style")
    selectors = re.findall(r"([^{}]+)\{", re.sub(r"@media[^{]+\{", "", style.text))
    assert all(
        selector.strip().startswith(("#figure-figure1", "svg:root")) for selector in selectors
    )
    assert set(re.findall(r"https?://[^\"' ]+", svg)) == {"http://www.w3.org/2000/svg"}
    assert "matplotlib" not in svg.lower() and "metadata" not in svg and "DOCTYPE" not in svg


def test_a_name_with_special_characters_is_escaped():
    points = [POINTS[0] | {"panel": "<a>&b"}]
    _, table = make(
        "curves", points, measured(wrn_10_2_standard=0.5), history(wrn_10_2_standard=[0.5])
    )
    svg = make_svg(record_of("curves", points) | {"title": '"<&'}, table)
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == '"<&'
    assert "<a>&b" in {text.text for text in root.iter(f"{SVG}text")}


@pytest.mark.parametrize("width", WIDTHS.values())
def test_no_text_of_a_drawing_is_small(width):
    _, table = make(
        "curves", POINTS[:1], measured(wrn_10_2_standard=0.5), history(wrn_10_2_standard=[0.5])
    )
    with house_style(width):
        figure = figure_report("curves").draw(table)
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 8
