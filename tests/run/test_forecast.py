"""What `soteacher plan` said of a run before it was trained, against what it left."""

from pathlib import Path

import pytest

from soteacher.core import files
from soteacher.data.prepared import Prepared, prepare
from soteacher.store.forecast import Forecast


@pytest.fixture
def trained(lab, tmp_path, monkeypatch):
    """A function that trains the small study with some changes; returns its forecast before."""
    monkeypatch.chdir(tmp_path)

    def train(**changes):
        plan = lab.whole_plan(store=str(lab.store), **changes)
        before = Forecast(plan)
        manifest = prepare(plan.data_spec("few"), lab.store)
        files.write_json(Path("results/small/data/few.json"), manifest)
        lab.data = Prepared(next(lab.store.glob("data/*")), manifest)
        for job in plan.jobs_of(plan.runs.values())[::-1]:  # teachers first
            lab.run(job.runs)
        return plan, before

    return train


def on_disk(folder):
    return sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())


@pytest.mark.parametrize("truth", [{}, {"true_labels": {"confusion": 0.3}}])
def test_a_run_leaves_the_bytes_that_the_plan_told(lab, trained, truth):
    recipe = {"epochs": 5, "batch": 40, "lr": 0.05, "decay_at": [2], "keep_every": 2}
    data = {"few": {"source": "few_digits", **truth}}
    plan, before = trained(recipes={"short": recipe}, data=data)
    [teacher] = (run for run in plan.runs.values() if not run.teacher)
    kept = sorted(path.name for path in lab.folder(teacher).path.glob("checkpoints/*"))
    assert kept == ["epoch0002.safetensors", "epoch0004.safetensors"]
    for run in plan.runs.values():
        assert before.costs([run])["bytes"] == pytest.approx(on_disk(lab.folder(run)), rel=0.03)
    arrays = sum(path.stat().st_size for path in lab.store.glob("data/*/*.npy"))
    assert before.facts()["data_bytes"] == pytest.approx(arrays, rel=0.03)


def test_what_is_trained_is_counted_and_tells_its_rate(lab, trained):
    plan, before = trained(distillers={"kd": {}, "kd_hot": {"method": "kd", "temperature": 9.0}})
    assert before.finished == {} and before.rates == {}
    after = Forecast(plan)
    assert after.finished.keys() == plan.runs.keys()
    assert after.facts()["to_train"]["seconds"] == 0
    for role, runs in plan.jobs.items():
        [job] = runs.values()
        # the students are one pass, so its time is that of the last of them, not the sum
        told = after.costs(job.runs)["seconds"]
        assert told == pytest.approx(max(lab.record(run)["seconds"] for run in job.runs)), role
