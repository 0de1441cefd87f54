"""The prepared data sets of a study."""

from __future__ import annotations

import logging
from pathlib import Path

from soteacher.core.errors import Damaged, Missing, Unreadable
from soteacher.data.prepared import (
    Prepared,
    folder_of,
    open_prepared,
    read_data_manifest,
    stored_data,
)
from soteacher.study.plan import Plan

log = logging.getLogger("soteacher")


def prepared_of(plan: Plan) -> dict[str, Prepared]:
    """Return the prepared data sets of a study, by name; unprepared ones are left out.

    Damaged ones are left out with a warning. If the study's results have no manifest of a data set,
    the images identify it; if they are there and cannot be read, that raises `UserError`.
    """
    store = Path(plan.study.store)
    prepared = {}
    for name in plan.study.data:
        spec = plan.data_spec(name)
        path = Path(f"results/{plan.study.study}/data/{name}.json")
        try:
            manifest = read_data_manifest(path, "the data manifest", missing_ok=True)
            if manifest is not None and manifest["spec"] == spec.to_json():
                prepared[name] = open_prepared(path, store)
                continue
            content = spec.content_key(plan.data_location(name))
            if found := stored_data(folder_of(spec, store, content)):
                prepared[name] = found
        except (Damaged, Unreadable) as error:
            log.warning("%s", error)
        except Missing:  # no longer in the store, or no images
            pass
    return prepared
