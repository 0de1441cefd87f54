"""Teachers with `weights` in a study file: their runs, what they cost, and what is refused."""

from __future__ import annotations

import hashlib

import pytest
from changed_study import changed_study

from soteacher.core.errors import UserError
from soteacher.data.sources.base import Outline
from soteacher.study.claims_record import claims_record
from soteacher.study.cost import pass_flop
from soteacher.study.expand import expand, expand_possible
from soteacher.study.load import read
from soteacher.study.paper import deviations
from soteacher.study.specs import RunSpec
from soteacher.study.summary import page_summary

PAIR = {"data": "digits", "teacher_recipe": "short", "student_recipe": "long"}
STUDY = {
    "study": "imported",
    "seeds": [0, 1],
    "data": {"digits": {"source": "digits"}},
    "recipes": {
        "short": {"epochs": 4, "batch": 32, "lr": 0.1, "decay_at": [], "keep_every": 1},
        "long": {"epochs": 8, "batch": 16, "lr": 0.2, "decay_at": [4]},
    },
    "pairs": {"wrn_10_2/wrn_10_1": PAIR, "wrn_10_2/wrn_16_1": PAIR},
    "teachers": {"mine": {"weights": "mine.pth"}, "standard": {}},
    "distillers": {"kd": {}, "rco": {"anchors": 2}},
    "tables": {
        "one": {"kind": "accuracy", "teachers": ["standard", "mine"], "distillers": ["kd"]},
    },
}
TEACHERS = ["digits/wrn_10_2/mine/seed0", "digits/wrn_10_2/mine/seed1"]
STANDARD = "digits/wrn_10_2/standard/seed0"
OUTLINE = Outline(n_train=100, n_test=10, height=8, width=8, n_classes=10)
CONTENT = b"not read as weights when a study is planned"


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """A file in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.pth").write_bytes(CONTENT)
    return tmp_path / "mine.pth"


def changed(**values):
    return changed_study(STUDY, values)


def runs(**values):
    return expand(read(changed(**values))).runs


def refusal(**values):
    with pytest.raises(UserError) as refused:
        expand(read(changed(**values)))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_pairs_of_a_network_share_one_teacher_per_seed():
    found = runs()
    assert [
        run for run in found if "/mine/" in run and run.endswith(("seed0", "seed1"))
    ] == TEACHERS
    for network in ("wrn_10_1", "wrn_16_1"):
        student = found[f"{TEACHERS[1]}/{network}/kd"]
        assert student.spec.teacher == found[TEACHERS[1]].spec
        assert student.spec.seed == 1
    assert len({found[run].spec.with_seed(0).sha256 for run in TEACHERS}) == 1


def test_the_spec_has_the_hash_of_the_file_and_the_request_its_path(mine):
    plan = expand(read(STUDY))
    expected = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "revision": 1}
    spec = plan.runs[TEACHERS[0]].spec
    assert spec.to_json()["weights"] == expected
    assert RunSpec.from_json(spec.to_json()) == spec
    student = plan.runs[f"{TEACHERS[0]}/wrn_10_1/kd"].spec.to_json()
    assert student["teacher"]["weights"] == expected and "weights" not in student
    request = plan.job_of[TEACHERS[0]].request
    assert request[TEACHERS[0]]["weights"] == "mine.pth"
    assert "weights" not in request[STANDARD]
    assert "mine.pth" not in str(student)


def test_the_spec_depends_on_the_content_alone_and_not_on_what_matters_in_training(mine):
    before = runs()[TEACHERS[0]].spec
    moved = mine.rename(mine.with_name("moved.safetensors"))
    moved_to = {"teachers": {"mine": {"weights": str(moved)}}}
    assert runs(**moved_to)[TEACHERS[0]].spec == before
    trained_otherwise = {"recipes": {"short": {"epochs": 5}}}
    assert runs(**moved_to, **trained_otherwise)[TEACHERS[0]].spec == before
    moved.write_bytes(CONTENT + b"!")
    assert runs(**moved_to)[TEACHERS[0]].spec != before


def test_a_mapping_gives_each_network_its_file(mine):
    mine.with_name("other.pth").write_bytes(b"other")
    weights = {"wrn_10_2": "mine.pth", "wrn_16_2": "other.pth"}
    found = runs(pairs={"wrn_16_2/wrn_10_1": PAIR}, teachers={"mine": {"weights": weights}})
    other = found["digits/wrn_16_2/mine/seed0"]
    assert (found[TEACHERS[0]].weights, other.weights) == ("mine.pth", "other.pth")
    assert other.spec.weights.sha256 == hashlib.sha256(b"other").hexdigest()
    refused = refusal(
        pairs={"wrn_16_2/wrn_10_1": PAIR}, teachers={"mine": {"weights": {"wrn_10_2": "mine.pth"}}}
    )
    assert refused == (
        "teachers.mine.weights: no file is given for the teacher network 'wrn_16_2' (given: "
        "wrn_10_2); add it, or leave out 'mine' or the pairs with this network"
    )
    unknown = refusal(teachers={"mine": {"weights": {"wrn_10_3x": "mine.pth"}}})
    assert unknown.startswith("study.teachers.mine.weights: ") and "wrn_10_3x" in unknown


def test_paths_have_the_home_folder_and_variables(mine, monkeypatch):
    monkeypatch.setenv("ZOO", str(mine.parent))
    found = runs(teachers={"mine": {"weights": "$ZOO/mine.pth"}})
    assert found[TEACHERS[0]].weights == str(mine)
    refused = refusal(teachers={"mine": {"weights": "$NO_SUCH_ZOO/mine.pth"}})
    assert "study.teachers.mine.weights: the environment variable NO_SUCH_ZOO" in refused


def test_an_imported_teacher_costs_one_prediction_of_the_test_images_and_its_students_all():
    found = runs()
    spec, standard = found[TEACHERS[0]].spec, found[STANDARD].spec
    [trained] = pass_flop([standard], OUTLINE)
    forward = trained / (4 * (100 * 3 + 10) + 10)
    assert pass_flop([spec], OUTLINE) == [10 * forward]
    ours, theirs = (found[f"{one}/wrn_10_1/kd"].spec for one in (TEACHERS[0], STANDARD))
    assert pass_flop([ours], OUTLINE) == pass_flop([theirs], OUTLINE)


@pytest.mark.parametrize("name", ["mine", "standard", "soteacher"])
def test_nothing_of_the_paper_stands_beside_it_whatever_its_name(name):
    """The role of the reference stays with Standard, also if the study names it later."""
    weights = {"weights": "mine.pth"}
    study = changed(tables={"one": {"teachers": [name, "plain"]}})
    study["teachers"] = {name: weights, "plain": {}}
    plan = expand(read(study))
    run = plan.runs[f"digits/wrn_10_2/{name}/seed0"]
    assert deviations(run.spec, name) == [f"{name} was trained elsewhere (not in the paper)"]
    record = claims_record(plan)
    assert {one["method"]: one["role"] for one in record["methods"]} == {
        name: "",
        "plain": "standard",
    }
    assert not [one for one in record["papers"] if name in one[2:]]
    cells = plan.contents["one"].record()["cells"]
    assert cells and not any(cell["papers"] for cell in cells if cell["row"] == name)


def test_the_page_says_where_the_teacher_comes_from():
    assert page_summary(expand(read(STUDY)))["teachers"]["mine"] == "trained elsewhere: mine.pth"
    by_network = changed(teachers={"mine": {"weights": {"wrn_10_2": "mine.pth"}}})
    texts = page_summary(expand(read(by_network)))["teachers"]
    assert texts["mine"] == "trained elsewhere: mine.pth for wrn_10_2"


def test_a_missing_file_leaves_the_other_tables(mine):
    mine.unlink()
    plan = expand_possible(
        read(changed(tables={"other": {"kind": "calibration", "teachers": ["standard"]}}))
    )
    assert set(plan.impossible) == {"one"} and set(plan.contents) == {"other"}
    assert plan.impossible["one"] == (
        f"teachers.mine.weights: there is no file mine.pth (working directory: {mine.parent}); "
        "expected a state dict, .pth, .pt, .bin or .safetensors: correct the path"
    )
    mine.mkdir()
    assert "there is no file mine.pth" in refusal()


def test_a_file_without_permission_is_one_line(mine, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("soteacher.core.files.sha256_of", refuse)
    assert refusal() == (
        "teachers.mine.weights: cannot read mine.pth: Permission denied; give this user the "
        "permission to read it, or choose another file"
    )


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"lipschitz": {}, "crl": {}}, "'lipschitz', 'crl'"),
        ({"oracle": True}, "'oracle'"),
    ],
)
def test_regularizers_and_oracles_have_no_weights(more, named):
    assert refusal(teachers={"mine": more}) == (
        "study.teachers.mine: a teacher with `weights` was trained elsewhere, so it has no "
        f"regularizers and is no oracle; leave out {named}, or `weights`"
    )


@pytest.mark.parametrize(
    ("more", "use"), [({"early_stop": True}, "early_stop"), ({"cross_fit": 2}, "cross_fit")]
)
def test_no_images_are_held_out_for_weights(more, use):
    assert refusal(teachers={"mine": more}) == (
        "study.teachers.mine: a teacher with `weights` was trained elsewhere, so it holds out no "
        f"images; leave out `{use}`, or `weights`"
    )


@pytest.mark.parametrize("empty", [None, "", {}, 3, ["mine.pth"], {"wrn_10_2": None}])
def test_weights_without_a_path_are_refused_and_train_no_standard(empty):
    study = changed()
    study["teachers"]["mine"]["weights"] = empty
    with pytest.raises(UserError, match=r"^study\.teachers\.mine\.weights.*: expected ") as refused:
        read(study)
    assert "\n" not in str(refused.value)


def test_a_distiller_of_earlier_checkpoints_is_refused():
    assert refusal(tables={"one": {"distillers": ["rco"]}}) == (
        "one: rco learns from checkpoints of its teacher's earlier epochs, and the imported "
        "digits/wrn_10_2/mine/seed0 has its final weights alone; choose another distiller for it, "
        "such as kd, or a teacher that is trained here"
    )


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ("figures", {"kind": "checkpoints", "distillers": ["kd"], "every": 2}),
        ("figures", {"kind": "curves", "distillers": ["kd"]}),
        ("tables", {"kind": "overhead"}),
    ],
)
def test_what_shows_training_refuses_an_imported_teacher(part, block):
    asked = block | {"teachers": ["standard", "mine"]}
    assert refusal(**{part: {"asked": asked}}) == (
        f"study.{part}.asked.teachers: expected methods that are trained; 'mine' was trained "
        "elsewhere, leave it out"
    )
