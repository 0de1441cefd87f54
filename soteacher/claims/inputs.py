"""The files that claims are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.claims.study_runs import NEEDED, StudyRuns
from soteacher.core.errors import UserError
from soteacher.report.csv_files import read_csv
from soteacher.report.tables.overhead import STEPS, read_steps


def read_study(record: dict[str, Any], runs: Path, steps: list[Path]) -> StudyRuns:
    """Return the runs of a study with its timed steps; refuse runs with other settings.

    record : see `study.claims_record`.     runs : runs.csv of the study.
    steps : CSV files of timed steps, named after the tables of step times in the record.
    """
    table = read_csv(runs, NEEDED, dtype=str, keep_default_na=False)
    hashes = dict(zip(table["run"], table["spec_sha256"], strict=True))
    for run_id, spec_sha256 in record["runs"].items():
        if not hashes.get(run_id, "").startswith(spec_sha256) or run_id not in hashes:
            raise UserError(
                f"{runs} lacks '{run_id}' with the settings that the study needs; rerun the same "
                "snakemake command to make the file again"
            )
    timed = [read_steps(path, record["timed"][path.stem])[0] for path in steps]
    of_steps = pd.concat(timed) if timed else pd.DataFrame(columns=STEPS)
    once = of_steps.drop_duplicates(["network", "method", "step"])
    return StudyRuns(table[table["run"].isin(record["runs"])], record, once)
