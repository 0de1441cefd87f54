"""The prepared data sets of a study."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from soteacher.core import files
from soteacher.core.errors import Missing, UserError
from soteacher.data.prepared import Prepared, folder_of, open_prepared
from soteacher.study.plan import Plan


def prepared_of(plan: Plan) -> dict[str, Prepared]:
    """Return the prepared data sets of a study, by name; unprepared ones are left out.

    If the study's results have no manifest of a data set, the images identify it. Raises
    `UserError` if they are there and cannot be read.
    """
    store = Path(plan.study.store)
    prepared = {}
    for name, data in plan.study.data.items():
        spec = plan.data_spec(name)
        path = Path(f"results/{plan.study.study}/data/{name}.json")
        manifest: dict[str, Any] = {}
        with suppress(UserError):  # it is damaged: the images are looked at
            manifest = files.read_json(path, "the data manifest", missing_ok=True) or {}
        if manifest.get("spec") != spec.to_json():
            try:
                content = data.source.content_key()
            except Missing:
                continue
            path = folder_of(spec, store, content) / "manifest.json"
        with suppress(UserError):  # not prepared yet, or no longer in the store
            prepared[name] = open_prepared(path, store)
    return prepared
