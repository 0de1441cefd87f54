"""Sealed records: JSON objects that contain the hash of everything else in them.

A change of a sealed file, by a damaged disk or an editor, is found whenever the file is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from soteacher.core import files
from soteacher.core.errors import Damaged
from soteacher.core.hashing import canonical_json, json_sha256

SEAL = "sha256"
"""The key of the hash: the sha256 of the canonical JSON of the other entries."""


class Form(BaseModel):
    """The entries that the readers of a record need; a record may have others.

    A record of another version of soteacher is intact, but it may lack some of them.
    """

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


def sealed(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with their seal in place of any other."""
    rest = {key: value for key, value in values.items() if key != SEAL}
    return rest | {SEAL: json_sha256(rest)}


def write_sealed(path: Path, values: dict[str, Any]) -> None:
    """Write the values and their seal as JSON."""
    files.write_json(path, sealed(values))


def read_sealed(
    path: Path,
    what: str,
    form: type[Form],
    missing_ok: bool = False,
    remedy: str = f"; delete it, then {files.AGAIN}",
) -> Any:
    """Return the values of a sealed file, with the seal.

    With `missing_ok`, return None if there is no such file. Raises `Damaged` if the file is not
    what `write_sealed` wrote or does not have the form, and `Unreadable` if reading it failed.

    remedy : the end of the messages about damage.
    """
    try:
        values = files.read_json(path, what, missing_ok)
        if values is None and missing_ok and not files.is_file(path, what):
            return None
        if not isinstance(values, dict) or SEAL not in values:
            raise Damaged(
                f"cannot read {what}, {path}: it has no hash of its content, so it is damaged or "
                "of an earlier version of soteacher"
            )
        if not _intact(values):
            raise Damaged(
                f"cannot read {what}, {path}: its content has changed since it was written"
            )
        if wrong := _wrong_entry(values, form):
            raise Damaged(
                f"cannot read {what}, {path}: its entry '{wrong}' is missing or has another form, "
                "so it is of another version of soteacher"
            )
    except Damaged as damage:
        raise Damaged(f"{damage}{remedy}") from None
    return values


def _intact(values: dict[str, Any]) -> bool:
    try:
        return values == sealed(values)
    except ValueError:  # a number that JSON does not have
        return False


def _wrong_entry(values: dict[str, Any], form: type[Form]) -> str:
    """Return the name of the first entry that does not have the form, or an empty text."""
    try:
        form.model_validate_json(canonical_json(values))
    except ValidationError as error:
        return ".".join(map(str, error.errors()[0]["loc"])) or "(all)"
    return ""
