"""A study with every kind of table and figure: made, verified, and shown before it is whole."""

from __future__ import annotations

import copy
import csv
import json
import shutil

import pytest
from conftest import TINY, Workplace

from soteacher.core import files
from soteacher.core.sealed import write_sealed

METHODS = ["standard", "soteacher"]
BOTH = {"teachers": METHODS, "distillers": ["kd"]}
TABLES = {
    "table1": {"kind": "accuracy", **BOTH},
    "table3": {"kind": "calibration", "teachers": METHODS},
    "table4": {"kind": "agreement", **BOTH},
    "truth": {"kind": "truth_distance", **BOTH},
    "overhead": {"kind": "overhead", "teachers": METHODS, "steps": 2},
}
FIGURES = {
    "figure1": {"kind": "checkpoints", "every": 1, **BOTH},
    "reliability": {"kind": "reliability", "teachers": METHODS},
    "curves": {"kind": "curves", **BOTH},
    "predictors": {"kind": "predictors", **BOTH},
}


GIVEN = ("--study", "study.yaml")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Workplace:
    """The tiny study with all of these, run once: not to be changed."""
    study = copy.deepcopy(TINY) | {"tables": TABLES, "figures": FIGURES, "seeds": [0, 1]}
    study["data"]["digits"]["true_labels"] = {"confusion": 0.3}
    study["recipes"]["short"]["keep_every"] = 1
    study["runs_per_job"] = 8
    place = Workplace(tmp_path_factory.mktemp("whole"))
    place.write(study)
    place.snakemake()
    return place


@pytest.fixture
def whole(made, tmp_path) -> Workplace:
    """A copy of it."""
    shutil.copytree(made.path, tmp_path / "copy", symlinks=True)
    return Workplace(tmp_path / "copy")


def rows(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def rewrite(path, change) -> None:
    """Change the rows of a CSV in place."""
    changed = rows(path)
    change(changed)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, changed[0])
        writer.writeheader()
        writer.writerows(changed)


def test_every_table_and_figure_is_made_in_every_form(made):
    results = made.path / "results/tiny"
    assert {p.name for p in results.glob("tables/*")} == {
        f"{name}.{form}" for name in TABLES for form in ("csv", "md", "sha256", "tex")
    }
    assert {p.name for p in results.glob("figures/*")} == {
        f"{name}.{form}" for name in FIGURES for form in ("csv", "pdf", "png", "sha256", "svg")
    }


def test_runs_csv_has_every_run_with_the_numbers_of_the_tables(made):
    results = made.path / "results/tiny"
    runs = {row["run"]: row for row in rows(results / "runs.csv")}
    assert len(runs) == 12  # 4 teachers, 4 students of theirs, 4 of their first epoch
    for row in rows(results / "tables/table1.csv"):
        values = [100 * float(runs[run]["top1"]) for run in row["runs"].split()]
        assert values == pytest.approx([float(value) for value in row["values"].split()])
    for row in runs.values():
        assert (results / f"{row['role']}s" / row["run"] / "run.json").is_file()
        parts = float(row["train_spread"]) + float(row["train_bias"])
        assert 0 < float(row["train_distance"]) <= parts**0.5
        assert (row["teacher_epoch"] == "1") == ("/epoch001/" in row["run"])


def test_measures_of_an_earlier_version_are_measured_again_and_nothing_is_trained(whole):
    """Its rule had no number of the format among its parameters."""
    for record in (whole.path / ".snakemake/metadata").rglob("*"):
        text = record.read_text() if record.is_file() else ""
        if '"rule": "measure"' in text:
            values = json.loads(text)
            values["params"] = [entry for entry in values["params"] if entry != "3"]
            record.write_text(json.dumps(values))
    said = whole.snakemake().stderr
    assert ": measured " in said and ": made runs.csv" in said
    assert ": trained " not in said and ": published " not in said


def test_the_students_of_the_last_epoch_are_those_of_table_1(made):
    results = made.path / "results/tiny"
    in_table = {
        run
        for row in rows(results / "tables/table1.csv")
        if row["role"] == "student"
        for run in row["runs"].split()
    }
    students = [row for row in rows(results / "figures/figure1.csv") if row["role"] == "student"]
    last = {run for row in students if row["epoch"] == "2" for run in row["runs"].split()}
    first = {run for row in students if row["epoch"] == "1" for run in row["runs"].split()}
    assert last == in_table
    assert len(first) == 4
    assert all("/epoch001/" in run for run in first)


def test_a_student_of_a_checkpoint_learned_from_that_checkpoint(made):
    """Its first loss is another than that of the student of the last epoch's teacher."""
    links = made.path / "results/tiny/students/digits/wrn_10_1/standard/seed0"
    early = rows(links / "epoch001/wrn_10_1/kd/history.csv")
    late = rows(links / "wrn_10_1/kd/history.csv")
    assert early[0]["loss_kd"] != late[0]["loss_kd"]
    record = json.loads((links / "epoch001/wrn_10_1/kd/run.json").read_text())
    assert record["spec"]["teacher_epoch"] == 1


def test_a_second_run_does_nothing(whole):
    assert "Nothing to be done" in whole.snakemake().stderr


def test_one_figure_is_a_target_of_its_own(whole):
    shutil.rmtree(whole.path / "results/tiny/figures")
    done = whole.snakemake("curves")
    assert (whole.path / "results/tiny/figures/curves.png").is_file()
    assert not (whole.path / "results/tiny/figures/figure1.png").exists()
    assert "trained" not in done.stderr


def test_every_run_that_the_page_leads_to_is_there(made):
    results = made.path / "results/tiny"
    page = (results / "report.html").read_text()
    links = {part.partition('"')[0] for part in page.split('href="')[1:]}
    records = {link for link in links if link.endswith("run.json")}
    assert len(records) == 12  # 4 teachers, 4 students of theirs, 4 of their first epoch
    for link in links:
        assert link.startswith(("#", "https://")) or (results / link).is_file(), link


def test_snakemake_s_own_report_has_tables_figures_and_captions(whole):
    whole.snakemake("--report", "report.html")
    report = (whole.path / "report.html").read_text()
    for text in ("table1.md", "figure1.png", "Students distilled from their teacher"):
        assert text in report


def test_what_was_made_is_verified(whole):
    said = whole.soteacher("verify", "results/tiny")
    assert "tables/table1.csv: 4 cells recomputed" in said
    assert "figures/figure1.csv: 8 values recomputed" in said
    assert "runs.csv: 12 runs recomputed" in said
    *_, all_are, last = said.splitlines()
    assert all_are.endswith("all results agree with the records of their runs")
    assert "not checked: whether these are the tables and figures of the study" in last
    said = whole.soteacher("verify", "results/tiny", *GIVEN)
    assert said.splitlines()[-1].endswith("all results agree with the records of their runs")


@pytest.mark.parametrize(
    ("path", "column"),
    [
        ("tables/table1.csv", "mean"),
        ("tables/table3.csv", "sd"),
        ("tables/truth.csv", "values"),
        ("tables/overhead.csv", "median"),
        ("figures/figure1.csv", "mean"),
        ("figures/curves.csv", "sd"),
        ("figures/reliability.csv", "accuracy"),
        ("runs.csv", "train_spread"),
        ("claims.csv", "p"),
        ("comparisons.csv", "low"),
    ],
)
def test_a_changed_number_is_found_by_its_place(whole, path, column):
    def change(changed):
        changed[1][column] = "0.123456"

    rewrite(whole.path / "results/tiny" / path, change)
    said = whole.soteacher("verify", "results/tiny", code=2)
    assert f"{path}, row 2, {column}: " in said
    assert "1 difference between the results and the records of the runs" in said


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_a_changed_drawing_is_found(whole, form):
    with open(whole.path / f"results/tiny/figures/predictors.{form}", "ab") as file:
        file.write(b" ")
    said = whole.soteacher("verify", "results/tiny", code=2)
    assert f"figures/predictors.{form} has changed since it was made" in said
    assert "1 difference between the results and the records of the runs" in said


def test_a_changed_measure_is_found(whole):
    path = next(whole.path.glob("results/tiny/measures/students/*.epochs.csv"))

    def change(changed):
        changed[0]["test_top1"] = "0.123456"  # of 450 images, no share is that

    rewrite(path, change)
    assert f"{path.name}, row 1, test_top1: 0.123456" in whole.soteacher(
        "verify", "results/tiny", code=2
    )


@pytest.mark.parametrize("name", ["test_logits.npy", "weights.safetensors", "history.csv"])
def test_a_changed_file_of_a_run_is_refused_even_if_its_record_was_changed_along(whole, name):
    folder = (whole.path / "results/tiny/teachers/digits/wrn_10_1/standard/seed0").resolve()
    with open(folder / name, "ab") as file:
        file.write(b"1")
    record = json.loads((folder / "run.json").read_text())
    record["artifacts"][name] = files.sha256_of(folder / name)
    (folder / "run.json").write_text(json.dumps(record))
    said = whole.soteacher("verify", "results/tiny", code=2)
    assert f"{name} of digits/wrn_10_1/standard/seed0 has changed since it was recorded" in said


@pytest.mark.parametrize("study", [(), GIVEN])
def test_a_deleted_cell_a_changed_text_and_a_deleted_line_are_found(whole, study):
    results = whole.path / "results/tiny"
    rewrite(results / "tables/table4.csv", lambda changed: changed.pop())
    text = results / "tables/table3.md"
    text.write_text(text.read_text().replace("0.", "0.1", 1))

    def without_a_line(changed):
        changed[:] = [row for row in changed if row["series"] == "standard"]

    rewrite(results / "figures/figure1.csv", without_a_line)
    said = whole.soteacher("verify", "results/tiny", *study, code=2)
    assert "tables/table4.csv: has other rows or columns" in said
    assert "tables/table3.md: differs from the recomputed text" in said
    assert "figures/figure1.csv: has other rows or columns" in said
    assert "3 differences between" in said


def test_what_is_missing_is_found(whole):
    results = whole.path / "results/tiny"
    for name in ("tables/truth.csv", "figures/curves.csv"):
        (results / name).unlink()
    said = whole.soteacher("verify", "results/tiny", *GIVEN, code=2)
    assert "tables/truth.csv: missing" in said and "figures/curves.csv: missing" in said
    measures = next(results.glob("measures/students/*.reliability.csv"))
    measures.unlink()
    assert f"{measures.name}: missing" in whole.soteacher("verify", "results/tiny", code=2)
    manifest = next(results.glob("runs/students/*.json"))
    manifest.unlink()
    said = whole.soteacher("verify", "results/tiny", *GIVEN, code=2)
    assert f"cannot read the manifest, results/tiny/runs/students/{manifest.name}" in said
    said = whole.soteacher("verify", "results/tiny", code=2)
    assert "tables/table1.csv: no file in results/tiny/asked describes it for these runs" in said


def test_manifests_of_an_earlier_grouping_are_no_fault(whole):
    results = whole.path / "results/tiny"
    [manifest] = results.glob("runs/teachers/*.json")
    runs = files.read_json(manifest, "it")["runs"]
    [(run_id, entry), *_] = runs.items()
    earlier = manifest.with_name("digits-0123456789.json")
    write_sealed(earlier, {"runs": {run_id: entry}})
    [hashes] = results.glob("measures/teachers/*.sha256")
    for kind in ("", ".epochs", ".reliability", ".disagreement"):
        known = hashes.with_name(f"{hashes.stem}{kind}.csv")
        shutil.copy(known, known.with_name(f"{earlier.stem}{kind}.csv"))
        if rows(known):  # no rows without label counts
            rewrite(
                known.with_name(f"{earlier.stem}{kind}.csv"),
                lambda rows: rows.__setitem__(slice(None), [r for r in rows if r["run"] == run_id]),
            )
    whole.soteacher("verify", "results/tiny")
    said = whole.soteacher("verify", "results/tiny", *GIVEN)
    assert "1 manifests skipped" in said
    write_sealed(earlier, {"runs": {run_id: entry | {"fingerprint": "0" * 64}}})
    said = whole.soteacher("verify", "results/tiny", code=2)
    assert earlier.name in said and manifest.name in said
    assert f"have different runs '{run_id}'" in said and "--study" in said
    whole.soteacher("verify", "results/tiny", *GIVEN)


def test_manifests_of_other_settings_are_refused_where_the_study_is_given(whole):
    study = whole.study
    study["recipes"]["short"]["lr"] = 0.06
    whole.write(study)
    said = whole.soteacher("verify", "results/tiny", *GIVEN, code=2)
    assert "with other settings than the study needs" in said
    whole.soteacher("verify", "results/tiny")


def test_a_folder_without_results_is_refused(whole):
    said = whole.soteacher("verify", "results/tony", code=2)
    assert "no results in results/tony" in said
    results = whole.path / "results/tiny"
    manifests = sorted(results.glob("runs/*/*.json"))
    manifests[0].write_text("{}")
    said = whole.soteacher("verify", "results/tiny", code=2)
    assert f"{manifests[0].name}: it has no hash of its content" in said
    write_sealed(manifests[0], {"runs": {}})
    said = whole.soteacher("verify", "results/tiny", code=2)
    assert f"{manifests[0].name} is not a manifest of runs" in said
    for manifest in manifests:
        manifest.unlink()
    assert "no manifests in results/tiny/runs" in whole.soteacher("verify", "results/tiny", code=2)


@pytest.mark.parametrize(
    ("table", "measured"),
    [
        ({"kind": "distillers", "teachers": ["standard"], "distillers": ["kd"]}, {"students"}),
        ({"kind": "overhead", "teachers": METHODS, "steps": 2}, set()),
    ],
)
def test_only_the_measures_that_tables_need_are_verified(empty, table, measured):
    study = empty.study
    study["tables"] = {"table6": table}
    empty.write(study)
    empty.snakemake("table6")
    results = empty.path / "results/tiny"
    assert {path.name for path in results.glob("measures/*")} == measured
    for given in ((), GIVEN):
        said = empty.soteacher("verify", "results/tiny", *given)
        assert "all results agree with the records of their runs" in said
    for path in results.glob("measures/students/*.epochs.csv"):
        path.unlink()
        said = empty.soteacher("verify", "results/tiny", *given, code=2)
        assert f"{path.name}: missing" in said


def test_a_diverged_run_is_verified_too(tmp_path):
    study = copy.deepcopy(TINY) | {"tables": TABLES, "figures": FIGURES, "seeds": [0]}
    study["data"]["digits"]["true_labels"] = {"confusion": 0.3}
    study["recipes"]["short"] |= {"keep_every": 1}
    study["teachers"]["soteacher"]["lipschitz"]["weight"] = 1e30
    study["runs_per_job"] = 8
    place = Workplace(tmp_path)
    place.write(study)
    place.snakemake()
    table = (tmp_path / "results/tiny/tables/table3.md").read_text()
    assert "none (n = 0 of 1)" in table
    assert "diverged in epoch 1" in table
    said = place.soteacher("verify", "results/tiny")
    assert "all results agree with the records of their runs" in said


def test_tables_so_far_have_the_runs_that_are_finished(whole):
    finished = (whole.path / "results/tiny/tables/table1.md").read_text()
    assert finished in whole.printed("tables", "study.yaml")
    gone = (
        whole.path / "results/tiny/students/digits/wrn_10_1/soteacher/seed1/wrn_10_1/kd"
    ).resolve()
    shutil.rmtree(gone)
    text = whole.printed("tables", "study.yaml")
    lines = [line for line in text.splitlines() if line.startswith("| SoTeacher")]
    assert lines[0].count("(n = 1 of 2)") == 1  # its student, not its teacher
    assert next(line for line in text.splitlines() if line.startswith("| Standard")) in finished


def test_tables_so_far_of_a_study_before_its_first_run_have_no_number(empty):
    text = empty.printed("tables", "study.yaml")
    assert text.count("none (n = 0 of 1)") == 4


@pytest.mark.parametrize("path", ["tables/table1.csv", "figures/curves.csv"])
@pytest.mark.parametrize("length", [0, 20, 700, 900])
def test_a_file_that_is_cut_short_is_named(whole, path, length):
    file = whole.path / "results/tiny" / path
    file.write_bytes(file.read_bytes()[:length])
    said = whole.soteacher("verify", "results/tiny", code=2)
    assert f"results/tiny/{path}" in said
