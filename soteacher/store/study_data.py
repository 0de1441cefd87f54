"""The prepared data sets of a study."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from soteacher.core import files
from soteacher.core.errors import UserError
from soteacher.data.prepared import Prepared, folder_of, open_prepared
from soteacher.study.plan import Plan


def prepared_of(plan: Plan) -> dict[str, Prepared]:
    """The data sets of a study that are prepared as it asks for, by name.

    Where its results do not tell which they are, their images do.
    """
    store = Path(plan.study.store)
    found = {}
    for name, data in plan.study.data.items():
        spec = plan.data_spec(name)
        with suppress(UserError):  # not prepared yet, no longer in the store, or no images
            path = Path(f"results/{plan.study.study}/data/{name}.json")
            manifest = files.read_json(path, "the data manifest", missing_ok=True) or {}
            if manifest.get("spec") != spec.to_json():
                path = folder_of(spec, store, data.source.content_key()) / "manifest.json"
            found[name] = open_prepared(path, store)
    return found
