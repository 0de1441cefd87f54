"""Figures as SVG files that a page can also contain as they are.

A file has two drawings of the same numbers: a wide one, and a narrow one with one column of panels
for phones, on which its text is legible. A rule of its style sheet, which names the file's own id
only, shows one of them. Black, white and the grid follow the text and the background of the page,
so that they fit dark pages too: `currentColor`, and the page's variable `--background` if it has
one. All ids begin with the figure's name. The same numbers give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import matplotlib
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from soteacher.report.drawing.panels import GRID, INK, ONE_COLUMN, PAPER, TWO_COLUMNS

WIDTHS = {"wide": TWO_COLUMNS, "narrow": ONE_COLUMN}
"""Name of a layout to the width of its drawing, in inches."""
NARROW_BELOW = 720
"""Screens with fewer CSS pixels across show the narrow drawing; paper shows the wide one."""
LARGEST = 1.75
"""CSS pixels per point of a drawing that has all the space that it wants."""
POINTS = 72
"""Points, the unit of the drawings, per inch."""
NAMESPACE, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
FONTS = "'DejaVu Sans', Verdana, sans-serif"
"""Of all text. Verdana is nearly as wide as DejaVu Sans, with which the text is placed."""
COLOURS = {
    f": {to_hex(INK)}": ": currentColor",
    f": {to_hex(PAPER)}": ": var(--background, Canvas)",
    f": {to_hex(GRID)}": ": currentColor; stroke-opacity: 0.15",
    "font-family: 'DejaVu Sans'; ": "",
    "font-family: 'DejaVu Sans'": "",
}
"""Parts of matplotlib's styles to what replaces them."""


def compose(name: str, title: str, description: str, drawings: dict[str, Figure]) -> str:
    """Return the text of an SVG file with both drawings of a figure.

    name : the figure's name, for ids.   title, description : what readers hear who do not see it.
    drawings : layout (see `WIDTHS`) to the drawing, which is changed: it loses its background.
    """
    sizes = {
        layout: (POINTS * drawing.get_figwidth(), POINTS * drawing.get_figheight())
        for layout, drawing in drawings.items()
    }
    width, height = (f"{length:.0f}pt" for length in sizes["wide"])
    root_id = f"figure-{name}"
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": NAMESPACE.strip("{}"),
            "id": root_id,
            "width": width,
            "height": height,
            "role": "img",
            "aria-label": title,
            "aria-describedby": f"{root_id}-description",
            "font-family": FONTS,
            # matplotlib sets these two for all elements of a page
            "stroke-linejoin": "round",
            "stroke-linecap": "butt",
        },
    )
    _add(root, "desc", description, id=f"{root_id}-description")
    _add(root, "style", _style_sheet(root_id, sizes))
    for layout, drawing in drawings.items():
        part = _drawn(drawing, f"{root_id}-{layout}")
        display = {"display": "none"} if layout == "narrow" else {}
        part.attrib = {
            "class": layout,
            "viewBox": part.attrib["viewBox"],
            "width": "100%",
            "height": "100%",
            **display,  # for programs that do not know media queries
        }
        root.append(part)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, tag, attributes).text = text


def _style_sheet(root_id: str, sizes: dict[str, tuple[float, float]]) -> str:
    """Return rules that show one drawing, with its shape and largest size."""
    shapes = {
        layout: f"max-width: {LARGEST * width:.0f}px; aspect-ratio: {width:.2f} / {height:.2f}"
        for layout, (width, height) in sizes.items()
    }
    return (
        "svg:root { color-scheme: light dark; color: CanvasText; background: Canvas } "
        f"#{root_id} {{ display: block; width: 100%; height: auto; {shapes['wide']} }} "
        f"@media screen and (max-width: {NARROW_BELOW - 1}px) {{ "
        f"#{root_id} {{ {shapes['narrow']} }} "
        f"#{root_id} .wide {{ display: none }} #{root_id} .narrow {{ display: inline }} }}"
    )


def _drawn(drawing: Figure, prefix: str) -> ElementTree.Element:
    """Return matplotlib's SVG element of a drawing, with ids that begin with the prefix."""
    for background in (drawing.patch, *(axes.patch for axes in drawing.axes)):
        background.set_visible(False)
    file = io.BytesIO()
    none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        drawing.savefig(file, format="svg", metadata=none)
    root = ElementTree.fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{NAMESPACE}style":  # it would hold for the whole page
                parent.remove(child)
    referenced = set(_references(root))
    for element in root.iter():
        element.tag = element.tag.removeprefix(NAMESPACE)
        _clean(element, referenced, prefix)
    return root


def _references(root: ElementTree.Element) -> Iterator[str]:
    """Yield the ids that elements refer to."""
    for element in root.iter():
        if LINK in element.attrib:
            yield element.attrib[LINK].removeprefix("#")
        for value in element.attrib.values():
            yield from re.findall(r"url\(#([^)]+)\)", value)


def _clean(element: ElementTree.Element, referenced: set[str], prefix: str) -> None:
    """Replace ids and colours, remove unused ids and spaces, and round lengths to 0.01 points."""
    if element.attrib.get("id") not in referenced:
        element.attrib.pop("id", None)
    for key, value in list(element.attrib.items()):
        if key == "id":
            value = f"{prefix}-{value}"
        elif key == LINK:
            del element.attrib[key]
            key, value = "href", f"#{prefix}-{value.removeprefix('#')}"
        elif key == "style":
            for old, new in COLOURS.items():
                value = value.replace(old, new)
        else:
            value = value.replace("url(#", f"url(#{prefix}-")
            value = re.sub(r"(\.\d\d)\d+", r"\1", value)
            value = re.sub(r" ?rotate\(-0 [^)]*\)", "", value)
        element.attrib[key] = " ".join(value.split())
        if not element.attrib[key]:
            del element.attrib[key]
    if element.tag not in ("text", "tspan"):
        element.text = (element.text or "").strip() or None
    element.tail = None
