"""Docstrings as Markdown for the API reference: a list of what is described as `name : text`."""

from __future__ import annotations

import re
from typing import Any

import griffe

DESCRIBED = re.compile(r"(?:^|(?<=\S)   ?)(\*{0,2}\w+(?:, \w+)*) : ", re.MULTILINE)


class Lists(griffe.Extension):
    """Makes list items of descriptions of parameters, which are lines or parts of lines."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = DESCRIBED.sub(r"\n\n- `\1`: ", obj.docstring.value)
