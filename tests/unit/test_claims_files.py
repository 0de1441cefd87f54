"""The record of the claims, their command, their document, and the seeds of a plan."""

import json
import re

import pandas as pd
import pytest
from made_claims_study import PAIR, SEEDS, steps_of, study_of

from soteacher.claims.every_method import COLUMNS as COMPARED
from soteacher.claims.every_method import make_comparisons
from soteacher.claims.inputs import read_study
from soteacher.claims.table import CLAIMS, COLUMNS
from soteacher.cli.entry_point import main
from soteacher.core import files
from soteacher.core.errors import UserError
from soteacher.core.hash_list import write_hash_list
from soteacher.report.tables.overhead import METHODS
from soteacher.study.claims_record import claims_record, role_of
from soteacher.study.expand import expand
from soteacher.study.load import load
from soteacher.study.more_seeds import with_seeds
from soteacher.study.requests import Request
from soteacher.study.spec_parts import TermSpec


def roles(record, data):
    return {one["method"]: one["role"] for one in record["methods"] if one["data"] == data}


def test_every_claim_and_column_is_in_the_document(root):
    text = (root / "docs/claims.md").read_text("utf-8")
    _, rules, claims, papers, columns, compared = text.split("\n## ")
    listed = [
        name
        for line in claims.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert listed == [claim.name for claim in CLAIMS]
    for part, names in ((columns, COLUMNS), (compared, COMPARED)):
        first = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
        assert {name for cell in first for name in re.findall(r"`(\w+)`", cell)} == {*names}
    assert "noncentral t" in rules
    assert "25 of 39" in papers


@pytest.mark.parametrize(
    ("file", "pair"), [("demo", "wrn_10_2/resnet8x1"), ("paper", "wrn_40_2/wrn_40_1")]
)
def test_the_methods_of_a_study_have_the_paper_s_roles(root, file, pair):
    record = claims_record(expand(load(root / f"config/{file}.yaml")))
    [data] = [known["data"] for known in record["pairs"] if known["pair"] == pair]
    found = roles(record, data)
    names = ("standard", "soteacher", "no_cr", "no_lr", "l1", "mixup", "cutmix", "augmix", "crl")
    assert {name: found[name] for name in names} == dict(zip(names, names, strict=True))
    assert json.loads(json.dumps(record)) == record


def test_the_paper_s_study_is_the_paper_s_experiment(root):
    record = claims_record(expand(load(root / "config/paper.yaml")))
    pair = "wrn_40_2/wrn_40_1"
    for method in ("standard", "soteacher", "no_cr", "no_lr", "mixup"):
        assert [pair, "kd", method] in record["papers"]
        assert ["cifar100", "wrn_40_2", method] in record["papers"]
    assert [pair, "crd", "soteacher"] in record["papers"]
    assert [pair, "kd", "label_smoothing"] not in record["papers"]
    assert claims_record(expand(load(root / "config/demo.yaml")))["papers"] == []


def test_a_sweep_names_the_method_of_each_value(root):
    [first, *_] = claims_record(expand(load(root / "config/paper.yaml")))["sweeps"]
    assert (first["pair"], first["setting"]) == ("resnet34/resnet18", "lipschitz.weight")
    methods = {value["value"]: value["method"] for value in first["values"]}
    assert methods["0"] == "no_lr"
    assert methods["1e-06"] == "soteacher"
    assert methods["3e-06"] == "soteacher.lipschitz.weight=3e-06"


def test_a_method_is_known_by_its_regularizers():
    lipschitz, consistency = TermSpec(1, {"weight": 2e-4}), TermSpec(1)
    assert role_of({"lipschitz": lipschitz, "consistency": consistency}) == "soteacher"
    assert role_of({"lipschitz": TermSpec(1, {"weight": 0}), "consistency": consistency}) == "no_lr"
    assert role_of({"mixup": TermSpec(1), "lipschitz": lipschitz}) == "lipschitz+mixup"
    assert role_of({}) == ""


@pytest.fixture
def inputs(tmp_path):
    """A folder with runs.csv and timed steps, and the record of the claims."""

    def added(measure, role, method, distiller, epoch, place):
        return 0.02 + 0.001 * place if method == "soteacher" else 0.0

    study = study_of(added)
    runs, steps = tmp_path / "runs.csv", tmp_path / "overhead.csv"
    study.runs["spec_sha256"] = "a" * 64
    files.write(runs, study.runs.to_csv(index=False))
    write_hash_list(runs)
    times = steps_of(0.05, 0.001).assign(cpu_seconds=0.1)
    files.write(steps, times.to_csv(index=False))
    methods = pd.DataFrame(
        [["wrn_10_2", name, "b" * 64, 0, "", "A CPU", "", 1] for name in ("standard", "soteacher")],
        columns=METHODS,
    )
    files.write(steps.with_suffix(".methods.csv"), methods.to_csv(index=False))
    write_hash_list(steps, (steps.with_suffix(".methods.csv"),))
    record = study.record | {
        "runs": dict.fromkeys(study.runs["run"], "a" * 16),
        "timed": {
            "overhead": {
                "steps": 40,
                "methods": [["wrn_10_2", name, "b" * 16] for name in ("standard", "soteacher")],
            }
        },
    }
    return tmp_path, record


def call(folder, record):
    """Run the command in a folder; return both tables."""
    request = Request.of(folder, "claims", record).write()
    out, comparisons = folder / "claims.csv", folder / "comparisons.csv"
    arguments = ["claims", "--record", request, "--runs", str(folder / "runs.csv")]
    arguments += ["--steps", str(folder / "overhead.csv"), "--comparisons", str(comparisons)]
    main([*arguments, "--out", str(out)])
    return pd.read_csv(out), pd.read_csv(comparisons)


def test_the_command_writes_both_files_and_their_hashes(inputs):
    folder, record = inputs
    claims, comparisons = call(folder, record)
    assert list(claims.columns) == list(COLUMNS)
    verdicts = claims.drop_duplicates("claim").set_index("claim")["verdict"]
    assert verdicts["students_better"] == verdicts["small_overhead"] == "holds"
    assert verdicts["teacher_less_accurate"] == "does not hold"
    assert list(comparisons.columns) == list(COMPARED)
    listed = (folder / "claims.sha256").read_text("utf-8")
    assert "  claims.csv\n" in listed
    assert "  comparisons.csv\n" in listed


def test_runs_with_other_settings_are_refused(inputs):
    folder, record = inputs
    run = next(iter(record["runs"]))
    record["runs"][run] = "c" * 16
    with pytest.raises(UserError, match=f"lacks '{run}' with the settings that the study needs"):
        read_study(record, folder / "runs.csv", [])


def test_a_method_is_compared_by_seed_in_every_measure():
    def added(measure, role, method, distiller, epoch, place):
        return 0.01 * (place + 1) if (role, method) == ("student", "mixup") else 0.0

    table = make_comparisons(study_of(added)).set_index(["role", "distiller", "method", "measure"])
    row = table.loc["student", "kd", "mixup", "top1"]
    assert (row["pair"], row["reference"], row["n"]) == (PAIR, "standard", len(SEEDS))
    assert row["difference"] == pytest.approx(2.5)  # the mean of 1, 2, 3 and 4 points
    assert row["sd_of_differences"] == pytest.approx((5 / 3) ** 0.5)
    assert row["mean"] - row["reference_mean"] == pytest.approx(2.5)
    teacher = table.loc["teacher", "", "mixup", "top1"]
    assert (teacher["pair"], teacher["difference"]) == (PAIR, 0)
    assert not table.index.duplicated().any()
    assert "standard" not in table.index.get_level_values("method")


def test_a_plan_with_more_seeds_keeps_the_study_s_first(root):
    study = load(root / "config/demo.yaml")
    seeds = study.seeds
    more = with_seeds(study, len(seeds) + 2)
    assert more.seeds[: len(seeds)] == seeds
    assert len({*more.seeds}) == len(seeds) + 2
    plan = expand(more)
    for name in ("table1", "table6", "figure1"):  # some have seeds of their own
        assert {run.spec.seed for run in plan.runs_of(name)} == {*more.seeds}
    assert with_seeds(study, 1).seeds == seeds[:1]


@pytest.mark.parametrize("n", [0, -1, 1001])
def test_a_number_of_seeds_that_no_study_has_is_refused(root, n):
    with pytest.raises(UserError, match=f"got --seeds {n}: expected a whole number from 1 to 1000"):
        with_seeds(load(root / "config/demo.yaml"), n)


def test_the_costs_of_more_seeds_are_more(root, capsys):
    def flop(*options):
        main(["plan", str(root / "config/demo.yaml"), "--only", "table1", "--json", *options])
        return json.loads(capsys.readouterr().out)["all"]["flop"]

    assert flop("--seeds", "10") == pytest.approx(2 * flop("--seeds", "5"))
