"""Runs that were trained by an earlier version are found: their specs have the very same hashes.

`pinned_specs.json` was written by the version of 2026-11-25 (commit 03908ad) from
`pinned_study.yaml`. A part of a new revision makes other runs: their hashes change, and those of
its students; nothing else may change them.
"""

import json

import pytest

from soteacher.core.hashing import json_sha256
from soteacher.study.expand import expand
from soteacher.study.load import load
from soteacher.study.specs import PreparationSpec, RunSpec, fingerprint


@pytest.fixture(scope="module")
def runs(root):
    return expand(load(root / "tests/unit/pinned_study.yaml")).runs


@pytest.fixture(scope="module")
def pinned(root):
    return json.loads((root / "tests/unit/pinned_specs.json").read_text(encoding="utf-8"))


def test_every_run_has_the_spec_that_it_had(runs, pinned):
    hashes = {run_id: [run.spec.sha256] for run_id, run in runs.items()}
    for run_id, run in runs.items():
        if run.teacher:
            hashes[run_id].append(json_sha256(PreparationSpec(run.spec).to_json()))
    assert hashes == pinned["runs"]


def test_a_spec_on_the_same_data_has_the_fingerprint_that_it_had(runs, pinned):
    first = next(iter(runs.values()))
    assert fingerprint(first.spec, "0") == pinned["fingerprint of the first run on data 0"]


def test_a_spec_that_is_read_back_is_the_same(runs):
    for run in runs.values():
        spec = RunSpec.from_json(json.loads(run.spec.canonical))
        assert spec == run.spec and spec.canonical == run.spec.canonical
