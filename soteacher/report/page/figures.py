"""The figures of the page: drawings with their texts and runs."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pandas as pd
from markupsafe import Markup

from soteacher.core.errors import UserError
from soteacher.report.machines import machine_notes
from soteacher.report.names import display_name
from soteacher.report.paper_note import FOLLOWS_TEXT

PAPER_NOTES = {
    "all": "",
    "some": "Some of the runs are not the paper's experiment",
    "none": "Not the paper's experiment",
}
"""Texts before a figure's deviations."""


def page_figure(
    name: str, block: dict[str, Any], svg: bytes, drawn: pd.DataFrame
) -> dict[str, Any]:
    """Return what the template shows of a figure.

    block : the figure's entry in the summary.   drawn : the numbers in the figure.
    svg : the figure's SVG file, whose ids begin with the figure's name.
    """
    shown = {run for runs in drawn["runs"] for run in str(runs).split()}
    note = PAPER_NOTES[block["papers"]] or (FOLLOWS_TEXT if block["deviations"] else "")
    return {
        "id": name,
        "name": display_name(name),
        "title": block["title"],
        "meaning": block["meaning"],
        "svg": _inline(name, svg),
        "runs": [folder for folder in block["runs"] if folder.partition("/")[2] in shown],
        "paper_notes": [(note, block["deviations"])] if note else [],
        "notes": machine_notes(drawn),
        "files": [name],
    }


def _inline(name: str, svg: bytes) -> Markup:
    """Return an SVG file as an element of the page, the only text that is not escaped."""
    try:
        tag = ElementTree.fromstring(svg).tag
    except ElementTree.ParseError as error:
        tag = str(error)
    if tag != "{http://www.w3.org/2000/svg}svg":
        raise UserError(
            f"the SVG file of '{name}' has no drawing ({tag}); delete it and rerun the same "
            "snakemake command to recreate it"
        )
    return Markup(svg.decode("utf-8"))
