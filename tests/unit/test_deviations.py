"""Where a run is not the paper's own experiment, said in words: setting, ours, the paper's."""

from copy import deepcopy

import pytest

from soteacher.study import paper
from soteacher.study.contents import is_papers
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.specs import RunSpec
from soteacher.study.summary import block_record


def deviations(spec, *names):
    """What of a run deviates, where the spec is given as JSON."""
    return paper.deviations(RunSpec.from_json(spec) if isinstance(spec, dict) else spec, *names)


METHODS = ("standard", "soteacher", "no_cr", "no_lr")


def put(values, path, value):
    """A copy of the values, with one of them set."""
    made = deepcopy(values)
    *outer, key = path.split()
    inner = made
    for name in outer:
        inner = inner[name]
    inner[key] = value
    return made


def papers_teacher(**changes):
    """The spec of the paper's Standard teacher on CIFAR-100, or with parts of it replaced."""
    return {
        "role": "teacher",
        "loop": 1,
        "data": {"source": "cifar100", "revision": 1},
        "stream": {"revision": 1, "crop_padding": 4, "flip": 0.5},
        "network": {"name": "wrn_40_2", "revision": 1},
        "recipe": {"epochs": 240, "batch": 64, "lr": 0.05, "decay_at": [150, 180, 210]},
        "terms": {},
        "seed": 0,
    } | changes


def papers_student(**changes):
    """The spec of a student of it by KD."""
    student = {"network": {"name": "wrn_40_1", "revision": 1}, "terms": {"kd": {"revision": 1}}}
    return papers_teacher(role="student", teacher=papers_teacher()) | student | changes


TERMS = {
    "standard": {},
    "soteacher": {"lipschitz": {"revision": 1}, "consistency": {"revision": 1}},
    "no_cr": {"lipschitz": {"revision": 1}},
    "no_lr": {"consistency": {"revision": 1}},
}


def network(name):
    return {"network": {"name": name, "revision": 1}}


# part of a spec that is other than the paper's, what is said of it
OTHER_PARTS = [
    ({"data": {"source": "digits", "revision": 1}}, "data digits (paper: cifar100)"),
    (
        {
            "data": {
                "source": "cifar100",
                "revision": 1,
                "true_labels": {"revision": 1, "confusion": 0.3},
            }
        },
        "data cifar100 with labels drawn from known distributions (paper: cifar100)",
    ),
    (
        {"data": {"source": "cifar100", "revision": 1, "size": 16}},
        "data cifar100, size 16 (paper: cifar100)",
    ),
    ({"stream": {"revision": 1, "crop_padding": 4}}, "flip 0 (paper: 0.5)"),
    ({"stream": {"revision": 1, "flip": 0.5}}, "crop_padding 0 (paper: 4)"),
    (
        {"stream": {"revision": 1, "crop_padding": 2, "flip": 0.5}},
        "crop_padding 2 (paper: 4)",
    ),
    (network("wrn_10_1"), "network wrn_10_1 (not in the paper)"),
    ({"precision": "bfloat16"}, "precision bfloat16 (paper: float32 or tf32)"),
    (
        {"stream": {"revision": 1, "rotation": 20.0, "crop_padding": 4, "flip": 0.5}},
        "rotation 20 (paper: 0)",
    ),
]
OTHER_RECIPES = [
    ({"epochs": 220}, "epochs 220 (paper: 240)"),
    ({"batch": 128}, "batch 128 (paper: 64)"),
    ({"lr": 0.1}, "lr 0.1 (paper: 0.05)"),
    ({"decay_at": [150, 180]}, "decay_at 150, 180 (paper: 150, 180, 210)"),
    ({"decay": 0.2}, "decay 0.2 (paper: 0.1)"),
    ({"momentum": 0.8}, "momentum 0.8 (paper: 0.9)"),
    ({"weight_decay": 1e-4}, "weight_decay 0.0001 (paper: 0.0005)"),
]
OTHER_PARTS += [
    ({"recipe": papers_teacher()["recipe"] | recipe}, said) for recipe, said in OTHER_RECIPES
]
# method, the terms it has instead, what is said of them
OTHER_TERMS = [
    ("standard", TERMS["no_cr"], "standard is lipschitz (paper: nothing)"),
    ("soteacher", TERMS["standard"], "soteacher is nothing (paper: consistency + lipschitz)"),
    ("soteacher", TERMS["no_cr"], "soteacher is lipschitz (paper: consistency + lipschitz)"),
    (
        "soteacher",
        TERMS["soteacher"] | {"dropout": {"revision": 1}},
        "soteacher is consistency + dropout + lipschitz (paper: consistency + lipschitz)",
    ),
    (
        "soteacher",
        TERMS["no_lr"] | {"lipschitz": {"revision": 1, "weight": 1e-4}},
        "lipschitz weight 0.0001 (paper: 1e-05)",
    ),
    (
        "soteacher",
        TERMS["no_cr"] | {"consistency": {"revision": 1, "ramp": "cosine"}},
        "consistency ramp cosine (paper: linear)",
    ),
    ("plain", TERMS["standard"], "method plain (not in the paper)"),
]
OTHER_STUDENTS = [
    ("kd", {"kd": {"revision": 1, "temperature": 3.0}}, "kd temperature 3 (paper: 4)"),
    ("kd", {"kd": {"revision": 1, "ce": 0.1}}, "kd ce 0.1 (paper: 0.5)"),
    ("kd", {"at": {"revision": 1}}, "kd is at (paper: kd)"),
    ("kd", {}, "kd is nothing (paper: kd)"),
    ("kd_hot", {"kd": {"revision": 1}}, "method kd_hot (not in the paper)"),
    ("ours", {"ours": {"revision": 1}}, "distiller ours (not in the paper)"),
    ("kd", {"ours": {"revision": 1}}, "distiller ours (not in the paper)"),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", [0, 41])
def test_a_teacher_of_the_paper_s_settings_deviates_in_nothing(method, seed):
    assert deviations(papers_teacher(terms=TERMS[method], seed=seed), method) == []


def test_tf32_is_as_much_the_paper_s_as_float32():
    """A33: the defaults of the authors' environment use it on GPUs that have it."""
    for precision in ("float32", "tf32"):
        teacher = papers_teacher(precision=precision)
        assert deviations(teacher, "standard") == []
        assert deviations(papers_student(precision=precision, teacher=teacher), "kd") == []


def papers_tiny(role="teacher", **changes):
    """The spec of the paper's ResNet34 on Tiny-ImageNet, or of its student."""
    teacher = role == "teacher"
    epochs, decay_at = (90, [30, 60]) if teacher else (100, [30, 60, 90])
    spec = papers_teacher(
        role=role,
        data={"source": "tiny_imagenet", "revision": 1},
        stream={"revision": 1, "rotation": 20.0, "crop_padding": 4, "flip": 0.5},
        recipe={"epochs": epochs, "batch": 128, "lr": 0.1, "decay_at": decay_at},
        terms={} if teacher else {"kd": {"revision": 1}},
        **network("resnet34" if teacher else "resnet18"),
    )
    return spec | ({} if teacher else {"teacher": papers_tiny()}) | changes


def test_the_paper_s_runs_on_tiny_imagenet_deviate_in_nothing():
    assert deviations(papers_tiny(), "standard") == []
    assert deviations(papers_tiny("student"), "kd") == []
    lipschitz = {"revision": 1, "weight": 1e-6}
    terms = TERMS["soteacher"] | {"lipschitz": lipschitz}
    assert deviations(papers_tiny(terms=terms), "soteacher") == []


def test_the_paper_s_runs_on_tiny_imagenet_have_settings_of_their_own():
    assert deviations(papers_tiny(terms=TERMS["no_cr"]), "no_cr") == [
        "lipschitz weight 1e-05 (paper: 1e-06)"
    ]
    recipe = papers_tiny("student")["recipe"]
    assert deviations(papers_tiny(recipe=recipe), "standard") == [
        "epochs 100 (paper: 90)",
        "decay_at 30, 60, 90 (paper: 30, 60)",
    ]
    assert deviations(papers_tiny(stream=papers_teacher()["stream"]), "standard") == [
        "rotation 0 (paper: 20)"
    ]
    fewer = {"source": "tiny_imagenet", "revision": 1, "classes": 10}
    assert deviations(papers_tiny(data=fewer), "standard") == [
        "data tiny_imagenet, classes 10 (paper: tiny_imagenet)"
    ]


def test_other_data_are_compared_with_those_that_the_paper_trains_the_network_on():
    generated = {"source": "generated", "revision": 1}
    assert deviations(papers_tiny(data=generated), "standard") == [
        "data generated (paper: tiny_imagenet)"
    ]
    assert deviations(papers_tiny("student", data=generated), "kd") == [
        "data generated (paper: tiny_imagenet)"
    ]


def test_shufflenet_learns_from_resnet32x4_alone_and_at_its_own_rate():
    teacher = papers_teacher(**network("resnet32x4"))
    assert deviations(teacher, "standard") == []
    student = papers_student(teacher=teacher, **network("shufflenet_v2"))
    assert deviations(student, "kd") == ["lr 0.05 (paper: 0.01)"]
    recipe = student["recipe"] | {"lr": 0.01}
    assert deviations(student | {"recipe": recipe}, "kd") == []
    other = papers_student(recipe=recipe, **network("shufflenet_v2"))
    assert deviations(other, "kd") == ["shufflenet_v2 as a student of wrn_40_2 (not in the paper)"]


def test_a_student_s_network_is_no_teacher_of_the_paper():
    found = deviations(papers_teacher(**network("wrn_40_1")), "standard")
    assert found == ["network wrn_40_1 (not in the paper)"]


@pytest.mark.parametrize("name", ["wrn_40_1", "wrn_16_2"])
def test_a_student_of_the_paper_s_settings_deviates_in_nothing(name):
    assert deviations(papers_student(**network(name)), "kd") == []


def test_kept_checkpoints_and_fewer_tests_make_no_other_experiment():
    recipe = papers_teacher()["recipe"] | {"keep_every": 10, "test_every": 10}
    assert deviations(papers_teacher(recipe=recipe), "standard") == []


def test_defaults_that_are_written_out_make_no_other_experiment():
    recipe = papers_teacher()["recipe"] | {"decay": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    terms = {"consistency": {"revision": 1, "weight": 1.0, "ramp": "linear", "mode": "official"}}
    assert deviations(papers_teacher(recipe=recipe, terms=terms), "no_lr") == []
    student = papers_student(terms={"kd": {"revision": 1, "temperature": 4.0, "ce": 0.5}})
    assert deviations(student, "kd") == []


@pytest.mark.parametrize(("part", "said"), OTHER_PARTS)
def test_another_part_is_named_with_what_ours_and_the_paper_s_is(part, said):
    assert deviations(papers_teacher(**part), "standard") == [said]
    assert deviations(papers_student(**part), "kd") == [said]


def test_a_resized_crop_is_named_with_its_ranges():
    stream = {"revision": 1, "resized_crop": {"scale": [0.5, 1.0]}, "flip": 0.5}
    said = "resized_crop scale 0.5, 1, ratio 0.75, 1.33333 (paper: none)"
    expected = ["crop_padding 0 (paper: 4)", said]
    assert deviations(papers_teacher(stream=stream), "standard") == expected


@pytest.mark.parametrize(("method", "terms", "said"), OTHER_TERMS)
def test_other_regularizers_than_a_method_s_name_says_are_named(method, terms, said):
    assert deviations(papers_teacher(terms=terms), method) == [said]


@pytest.mark.parametrize(
    ("method", "regularizer", "said", "code"),
    [
        ("no_lr", {"consistency": {"mode": "paper"}}, "consistency mode paper", "official"),
        ("no_cr", {"lipschitz": {"norm": "induced"}}, "lipschitz norm induced", "entrywise"),
        (
            "no_cr",
            {"lipschitz": {"norm": "induced_strided"}},
            "lipschitz norm induced_strided",
            "entrywise",
        ),
    ],
)
def test_a_reading_of_the_paper_s_text_is_the_paper_s_and_is_told(method, regularizer, said, code):
    [(name, settings)] = regularizer.items()
    told = f"{said} (authors' code: {code})"
    found = deviations(papers_teacher(terms={name: {"revision": 1} | settings}), method)
    assert found == [told] and is_papers(found)
    other = {name: {"revision": 1, "weight": 3.0} | settings}
    weight = deviations(papers_teacher(terms=other), method)
    assert weight[1] == told and weight[0].startswith(f"{name} weight 3 (paper: ")
    assert not is_papers(weight)


@pytest.mark.parametrize(("distiller", "terms", "said"), OTHER_STUDENTS)
def test_another_distiller_than_its_name_says_is_named(distiller, terms, said):
    assert deviations(papers_student(terms=terms), distiller) == [said]


def test_a_student_of_an_earlier_epoch_s_teacher_is_not_the_paper_s():
    said = "the teacher of epoch 40 (paper: the last)"
    assert deviations(papers_student(teacher_epoch=40), "kd") == [said]


def test_all_that_deviates_is_told():
    spec = papers_teacher(**network("wrn_10_1"), precision="bfloat16", terms=TERMS["no_cr"])
    assert deviations(spec, "standard") == [
        "network wrn_10_1 (not in the paper)",
        "standard is lipschitz (paper: nothing)",
        "precision bfloat16 (paper: float32 or tf32)",
    ]


@pytest.fixture
def papers_digits(monkeypatch, wide):
    """A study, in a world where the paper's experiment is one on digits."""
    recipe = wide["recipes"]["teachers"]
    recipe_of_both = {key: recipe[key] for key in ("epochs", "batch", "lr", "decay_at")}
    experiment = paper.Experiment(
        stream={"crop_padding": 1},
        teacher=recipe_of_both,
        student=recipe_of_both,
        students={"wrn_16_2": ("wrn_16_1", "wrn_10_1")},
        lr={},
        lipschitz=1e-5,
    )
    monkeypatch.setitem(paper.EXPERIMENTS, "digits", experiment)
    wide = put(wide, "recipes students", recipe)
    wide = put(wide, "teachers soteacher lipschitz", {})
    return put(wide, "teachers no_cr lipschitz", {})


def cells_of(values, table="first"):
    """The deviations of each cell of a table."""
    found = expand(read(values)).contents[table].cells
    return {(cell.row, cell.column): cell.deviations for cell in found}


def papers_cells(values, table="first"):
    """Whether each cell of a table is the paper's."""
    return {place: not said for place, said in cells_of(values, table).items()}


def test_a_cell_is_the_paper_s_where_all_its_runs_are(papers_digits):
    for (row, column), papers in papers_cells(papers_digits).items():
        assert papers == (not column.startswith("small")), (row, column)


def test_a_student_s_cell_is_not_the_paper_s_where_its_teacher_is_not(papers_digits):
    other = put(papers_digits, "teachers no_lr", {"consistency": {"ramp": "cosine"}})
    cells = papers_cells(other)
    pair = "wrn_16_2/wrn_16_1"
    assert not cells["no_lr", f"{pair} teacher.top1"]
    assert not cells["no_lr", f"{pair} student.top1"]
    assert cells["soteacher", f"{pair} student.top1"]


def test_the_paper_s_value_is_shown_with_a_reading_of_its_text(papers_digits):
    read_as_text = put(papers_digits, "teachers no_lr", {"consistency": {"mode": "paper"}})
    plan = expand(read(read_as_text))
    cells = plan.contents["first"].record()["cells"]
    shown = [cell["papers"] for cell in cells if not cell["column"].startswith("small")]
    assert shown and all(shown)
    block = block_record(plan, "first")
    assert block["papers"] == "some"  # the pair `small` is not the paper's
    assert "consistency mode paper (authors' code: official)" in block["deviations"]


@pytest.mark.parametrize(
    ("precision", "shown"), [("float32", True), ("tf32", True), ("bfloat16", False)]
)
def test_the_paper_s_value_is_shown_in_the_paper_s_precisions_alone(
    papers_digits, precision, shown
):
    plan = expand(read(papers_digits | {"precision": precision}))
    cells = plan.contents["first"].record()["cells"]
    ours = {cell["papers"] for cell in cells if not cell["column"].startswith("small")}
    assert ours == {shown}
    said = "precision bfloat16 (paper: float32 or tf32)"
    assert (said in block_record(plan, "first")["deviations"]) is not shown


def test_a_student_s_cell_with_another_distiller_is_not_the_paper_s(papers_digits):
    cells = papers_cells(papers_digits, "second")
    pair = "wrn_16_2/wrn_16_1"
    assert cells["standard kd", f"{pair} student.top1"]
    assert not cells["standard kd_hot", f"{pair} student.top1"]


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_other_networks_under_a_pair_s_name_are_not_the_paper_s(papers_digits, role):
    pair = "wrn_16_2/wrn_16_1"
    other = put(papers_digits, f"pairs {pair} {role}", "wrn_10_1")
    assert papers_cells(papers_digits)["standard", f"{pair} student.top1"]
    assert not papers_cells(other)["standard", f"{pair} student.top1"]
    said = cells_of(other)["standard", f"{pair} student.top1"]
    assert "the pair's name is not that of its networks" in said


def test_a_student_s_cell_tells_its_teacher_s_deviations_too_each_once(papers_digits):
    other = put(papers_digits, "recipes teachers batch", 32)
    other = put(other, "teachers no_lr", {"consistency": {"ramp": "cosine"}})
    other = put(other, "distillers kd", {"temperature": 2.0})
    assert cells_of(other)["no_lr", "wrn_16_2/wrn_16_1 student.top1"] == (
        "batch 32 (paper: 64)",
        "consistency ramp cosine (paper: linear)",
        "kd temperature 2 (paper: 4)",
    )
