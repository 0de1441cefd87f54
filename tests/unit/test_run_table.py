"""`runs.csv`: what identifies each run of a study, and its measures."""

import re

import pandas as pd
import pytest

from soteacher.cli.entry_point import main
from soteacher.core import files
from soteacher.core.hash_list import write_hash_list
from soteacher.results import recomputed
from soteacher.results.columns import COLUMNS
from soteacher.results.runs_table import RUN_COLUMNS, runs_table
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.requests import Request
from soteacher.study.run_table import IDENTITY, runs_record

STUDY = {
    "study": "tiny",
    "seeds": [0, 7],
    "data": {"digits": {"source": "digits", "augment": {}}},
    "recipes": {"short": {"epochs": 4, "batch": 64, "lr": 0.05, "decay_at": [3], "keep_every": 2}},
    "pairs": {
        "first": {
            "data": "digits",
            "teacher": "wrn_10_2",
            "student": "wrn_10_1",
            "teacher_recipe": "short",
            "student_recipe": "short",
        },
        "wrn_10_2/wrn_16_1": {
            "data": "digits",
            "teacher_recipe": "short",
            "student_recipe": "short",
        },
    },
    "teachers": {"standard": {}, "soteacher": {"lipschitz": {"weight": 1e-4}, "consistency": {}}},
    "distillers": {"kd": {}, "gentle": {"method": "kd", "ce": 0}},
    "tables": {
        "table1": {"kind": "accuracy", "teachers": ["standard"], "distillers": ["kd", "gentle"]}
    },
    "figures": {
        "figure1": {
            "kind": "checkpoints",
            "pairs": ["first"],
            "teachers": ["standard"],
            "distillers": ["kd"],
            "every": 2,
            "seeds": [7],
        },
        "figure2": {
            "kind": "sweep",
            "pairs": ["first"],
            "base": "soteacher",
            "teachers": ["standard"],
            "distillers": ["kd"],
            "vary": {"lipschitz.weight": [1e-3, 1e-4]},
            "seeds": [0],
        },
    },
}


@pytest.fixture(scope="module")
def plan():
    """The plan of a study with everything that names a run."""
    return expand(read(STUDY, "study.yaml"))


def values_of(plan, run_id):
    """Name to value of a run."""
    record = runs_record(plan)
    rows = [dict(zip(record["columns"], row, strict=True)) for row in record["identities"]]
    return {row["run"]: row for row in rows}[run_id]


def test_every_run_is_in_the_record_once_with_its_hash(plan):
    record = runs_record(plan)
    place = IDENTITY.index("run")
    assert [row[place] for row in record["identities"]] == sorted(plan.runs)
    assert record["runs"] == {run.id: run.short_sha256 for run in plan.runs.values()}


def test_a_teacher_has_no_pair_and_no_teacher(plan):
    assert values_of(plan, "digits/wrn_10_2/standard/seed7") == {
        "study": "tiny",
        "data": "digits",
        "pair": "",
        "method": "standard",
        "distiller": "",
        "seed": 7,
        "role": "teacher",
        "network": "wrn_10_2",
        "teacher_network": "",
        "teacher_epoch": "",
        "run": "digits/wrn_10_2/standard/seed7",
        "teacher": "",
    }


def test_a_student_has_the_names_of_the_study(plan):
    run_id = "digits/wrn_10_2/standard/seed0/wrn_10_1/gentle"
    assert values_of(plan, run_id) == {
        "study": "tiny",
        "data": "digits",
        "pair": "first",
        "method": "standard",
        "distiller": "gentle",
        "seed": 0,
        "role": "student",
        "network": "wrn_10_1",
        "teacher_network": "wrn_10_2",
        "teacher_epoch": "",
        "run": run_id,
        "teacher": "digits/wrn_10_2/standard/seed0",
    }


def test_students_of_every_pair_and_seed_have_their_own(plan):
    for pair, network in (("first", "wrn_10_1"), ("wrn_10_2/wrn_16_1", "wrn_16_1")):
        for seed in (0, 7):
            found = values_of(plan, f"digits/wrn_10_2/standard/seed{seed}/{network}/kd")
            assert (found["pair"], found["seed"], found["network"]) == (pair, seed, network)


def test_the_student_of_a_checkpoint_has_its_epoch_and_of_the_last_none(plan):
    teacher = "digits/wrn_10_2/standard/seed7"
    found = values_of(plan, f"{teacher}/epoch002/wrn_10_1/kd")
    assert (found["teacher_epoch"], found["teacher"], found["method"]) == (2, teacher, "standard")
    assert (found["pair"], found["distiller"]) == ("first", "kd")
    assert values_of(plan, f"{teacher}/wrn_10_1/kd")["teacher_epoch"] == ""


def test_a_changed_method_is_named_as_in_the_run_id(plan):
    teacher = "digits/wrn_10_2/soteacher.lipschitz.weight=0.001/seed0"
    for run_id in (teacher, f"{teacher}/wrn_10_1/kd"):
        assert values_of(plan, run_id)["method"] == "soteacher.lipschitz.weight=0.001"


def measured(plan):
    """Rows of measures of all runs of the plan, in another order than the plan's."""
    rows = []
    for number, run in enumerate(reversed(plan.runs.values())):
        row = dict.fromkeys(COLUMNS, "") | {"run": run.id, "spec_sha256": run.spec.sha256}
        row |= {"status": "done", "top1": f"0.{number}1234567890123456", "classes": "10"}
        rows.append(row)
    rows[0] |= {"status": "diverged", "note": "diverged, somewhere", "top1": ""}
    return pd.DataFrame(rows)


def test_the_table_has_a_row_per_run_with_its_own_measures(plan):
    measures = measured(plan).set_index("run")
    table = runs_table(runs_record(plan), measures)
    assert tuple(table.columns) == RUN_COLUMNS
    assert list(table["run"]) == sorted(plan.runs)
    for row in table.itertuples():
        assert row.top1 == measures.loc[row.run, "top1"]
        assert row.spec_sha256 == plan.runs[row.run].spec.sha256


def test_a_study_without_runs_has_a_table_without_rows(tmp_path):
    """A table of weights trains nothing."""
    table = {"kind": "weights", "teachers": ["standard"], "distillers": ["at"]}
    study = STUDY | {"tables": {"table5": table}, "figures": {}, "distillers": {"at": {}}}
    made = Request.of(tmp_path, "runs", runs_record(expand(read(study, "study.yaml")))).write()
    none, out = Request.of(tmp_path, "measures-runs", []).write(), tmp_path / "runs.csv"
    main(["runs", "--runs", made, "--measures", none, "--out", str(out)])
    assert out.read_text() == ",".join(RUN_COLUMNS) + "\n"


class Folder:
    """The files that `soteacher runs` reads, in two CSVs of measures."""

    def __init__(self, plan, path):
        self.path = path
        rows = measured(plan)
        self.measures = [path / "teachers.csv", path / "students.csv"]
        for file, part in zip(self.measures, (rows[::2], rows[1::2]), strict=True):
            self.write(file, part)
        self.runs = Request.of(path, "runs", runs_record(plan)).write()
        self.listed = Request.of(path, "measures-runs", [*map(str, self.measures)]).write()

    def write(self, file, rows):
        """Write measures and their hash."""
        files.write(file, rows.to_csv(index=False))
        write_hash_list(file)

    def make(self):
        """Run the command."""
        out = self.path / "out" / "runs.csv"
        main(["runs", "--runs", self.runs, "--measures", self.listed, "--out", str(out)])

    def refusal(self, caplog):
        """Run the command, which must refuse; return the line that says why."""
        caplog.clear()
        with pytest.raises(SystemExit) as ended:
            self.make()
        [said] = caplog.messages
        assert ended.value.code == 2 and "\n" not in said
        assert not (self.path / "out").exists()
        return said


@pytest.fixture
def folder(plan, tmp_path):
    """The files of a study that is measured."""
    return Folder(plan, tmp_path)


def test_the_command_writes_the_table_with_every_digit_and_its_hash(folder, plan):
    folder.make()
    out = folder.path / "out" / "runs.csv"
    found = pd.read_csv(out, dtype=str, keep_default_na=False)
    expected = runs_table(runs_record(plan), measured(plan).set_index("run"))
    assert found.equals(expected.astype(str))
    assert out.with_suffix(".sha256").read_text() == f"{files.sha256_of(out)}  runs.csv\n"


def test_measures_that_changed_are_refused(folder, caplog):
    file = folder.measures[1]
    file.write_text(file.read_text().replace("0.3123", "0.9123"))
    assert f"{file} has changed since it was made" in folder.refusal(caplog)


def test_a_run_of_other_settings_or_without_measures_is_refused(folder, caplog):
    file = folder.measures[0]
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    folder.write(file, rows.assign(spec_sha256="0" * 64))
    assert "have other settings than the study needs" in folder.refusal(caplog)
    folder.write(file, rows[1:])
    missing = f"the measures lack '{rows['run'][0]}', which the study needs"
    assert missing in folder.refusal(caplog)


def test_measures_of_an_earlier_version_are_refused_in_words(folder, caplog):
    file = folder.measures[0]
    folder.write(file, pd.read_csv(file, dtype=str).drop(columns="ece_null"))
    said = folder.refusal(caplog)
    assert f"cannot read {file}: it has no column 'ece_null'; delete it and rerun" in said


def test_every_column_is_explained_in_the_documents_and_no_other(root):
    text = (root / "docs/results.md").read_text(encoding="utf-8")
    table = text.partition("| column | meaning |")[2].partition("\n\n")[0]
    first = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    said = [name for cell in first for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(said) == sorted(RUN_COLUMNS)


def test_verify_finds_a_runs_csv_that_was_saved_again(tmp_path, monkeypatch):
    """Its numbers are equal, but the claims can no longer be recomputed from it."""
    table = pd.DataFrame({"run": ["digits/a"], "top1": [0.5]})
    monkeypatch.setattr(recomputed, "runs_table", lambda record, measures: table)
    path, measures = tmp_path / "runs.csv", {"": table}
    files.write(path, table.to_csv(index=False))
    write_hash_list(path)
    assert recomputed.of_runs(tmp_path / "runs", {}, measures) == []
    path.write_text(path.read_text().replace("0.5", "0.50"))
    [line] = recomputed.of_runs(tmp_path / "runs", {}, measures)
    assert "runs.csv has changed since it was made" in line
    path.write_text(path.read_text().replace("0.50", "0.6"))
    [line] = recomputed.of_runs(tmp_path / "runs", {}, measures)
    assert line == f"{path}, row 1, top1: 0.6, but recomputed 0.5"
