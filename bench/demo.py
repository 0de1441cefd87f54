"""The share of the demo's time that is not training."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from bench.processes import CORES, ROOT, once, snakemake
from bench.timing import Pair, Times
from soteacher.store.forms import read_manifest
from soteacher.store.run_folder import RunFolder
from soteacher.study.specs import RunSpec


def run_demo(folder: Path) -> Pair:
    """Run the whole demo in a folder, on an empty store; return its training and its whole time."""
    place = folder / "demo"
    place.mkdir()
    whole = once(snakemake(place, CORES, [ROOT / "config/demo.yaml"]), place)
    return of_finished(place / "results/demo", place / "results/store", whole)


def of_finished(results: Path, store: Path, whole: Times) -> Pair:
    """Return the time of training and the whole time of a demo that has ended.

    whole : the time of its Snakemake with all processes. In place of the wall-clock time, the pair
    has that of all cores.
    """
    seconds = training_seconds(results, store)
    return Pair(Times(seconds, seconds), Times(whole.cpu, CORES * whole.wall))


def training_seconds(results: Path, store: Path) -> float:
    """Return the seconds of all epochs in which a study's runs were trained.

    Runs of one pass are trained in turn, so that the seconds of each are those of all of them: a
    pass counts once, with its longest run. Tests after epochs are in these seconds; first stages
    that depend on the teacher alone are not. A process trains with one thread: with a core for each
    of them, these are CPU seconds.
    """
    passes: dict[tuple[str, ...], float] = defaultdict(float)
    for path in sorted(results.glob("runs/*/*.json")):
        for run_id, entry in read_manifest(path, "the manifest")["runs"].items():
            record = RunFolder(store, entry["fingerprint"], run_id).record() or {}
            if record.get("attempts"):  # not an oracle, which is not trained
                last = record["attempts"][-1]
                process = json.dumps([last["host"], last["pid"]])
                key = (process, RunSpec.from_json(record["spec"]).pass_key)
                passes[key] = max(passes[key], record["seconds"])
    return sum(passes.values())
