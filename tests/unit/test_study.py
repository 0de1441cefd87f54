"""A study file is read, or refused in one line that says which key to mend and how."""

import json
import subprocess
import sys
from functools import cache

import jsonschema
import pytest
import yaml
from shipped_methods import SHIPPED

from soteacher.core.errors import UserError
from soteacher.study.expand import expand
from soteacher.study.json_schema import json_schema
from soteacher.study.load import load, read, values_of

PAIR = "wrn_10_2/wrn_10_1"
NEW_PAIR = {"data": "digits", "teacher_recipe": "demo", "student_recipe": "demo"}
NAME = "[a-z0-9][a-z0-9_]*"

# where a name is put, what it holds, the key that is named, what is unknown, the nearest name
UNKNOWN_NAMES = [
    ("recepies", {}, "", "key 'recepies'", "recipes"),
    ("recipes demo epoch", 3, ".recipes.demo", "key 'epoch'", "epochs"),
    (
        "recipes demo lr",
        {"default": 0.1, "wrn_10_x": 0.1},
        ".recipes.demo.lr",
        "network 'wrn_10_x'",
        "wrn_10_2",
    ),
    ("data digits source", "digit", ".data.digits.source", "data source 'digit'", "digits"),
    ("data digits augmnt", {}, ".data.digits", "key 'augmnt'", "augment"),
    ("data digits augment flop", 1, ".data.digits.augment", "key 'flop'", "flip"),
    (
        "data digits true_labels",
        {"confusoin": 0.3},
        ".data.digits.true_labels",
        "key 'confusoin'",
        "confusion",
    ),
    (f"pairs {PAIR} data", "digit", f".pairs.{PAIR}.data", "data set 'digit'", "digits"),
    (
        f"pairs {PAIR} teacher_recipe",
        "dmo",
        f".pairs.{PAIR}.teacher_recipe",
        "recipe 'dmo'",
        "demo",
    ),
    (f"pairs {PAIR} student", "wrn_10_x", f".pairs.{PAIR}", "network 'wrn_10_x'", "wrn_10_2"),
    (f"pairs {PAIR} teacher", "wrn_41_2", f".pairs.{PAIR}", "network 'wrn_41_2'", "wrn_40_2"),
    (
        "teachers standard",
        {"lipshitz": {}},
        ".teachers.standard",
        "regularizer 'lipshitz'",
        "lipschitz",
    ),
    (
        "teachers soteacher lipschitz",
        {"wieght": 1},
        ".teachers.soteacher.lipschitz",
        "key 'wieght'",
        "weight",
    ),
    ("distillers kd", {"temprature": 4}, ".distillers.kd", "key 'temprature'", "temperature"),
    ("distillers kd", {"metod": "kd"}, ".distillers.kd", "key 'metod'", "method"),
    ("distillers kd2", {}, ".distillers.kd2", "distiller 'kd2'", "kd"),
    ("distillers hot", {"method": "kdd"}, ".distillers.hot", "distiller 'kdd'", "kd"),
    (
        "tables table1 teachers",
        ["standart"],
        ".tables.table1.teachers",
        "teacher method 'standart'",
        "standard",
    ),
    ("tables table1 distillers", ["kdd"], ".tables.table1.distillers", "distiller 'kdd'", "kd"),
    (
        "tables table1 pairs",
        ["wrn_10_2/wrn_10_2"],
        ".tables.table1.pairs",
        "pair 'wrn_10_2/wrn_10_2'",
        PAIR,
    ),
    ("tables table1 colums", [], ".tables.table1", "key 'colums'", "columns"),
    ("tables table1 kind", "acuracy", ".tables.table1.kind", "kind 'acuracy'", "accuracy"),
    ("tables table4 kind", "agrement", ".tables.table4.kind", "kind 'agrement'", "agreement"),
    (
        "figures figure1 kind",
        "checkpoint",
        ".figures.figure1.kind",
        "kind 'checkpoint'",
        "checkpoints",
    ),
    (
        "tables table3 networks",
        ["wrn_10_1"],
        ".tables.table3.networks",
        "teacher network 'wrn_10_1'",
        "wrn_10_2",
    ),
    (
        "figures reliability networks",
        ["wrn_16_2"],
        ".figures.reliability.networks",
        "teacher network 'wrn_16_2'",
        "wrn_10_2",
    ),
    (
        "figures curves teachers",
        ["soteachr"],
        ".figures.curves.teachers",
        "teacher method 'soteachr'",
        "soteacher",
    ),
    (
        "figures figure1 pairs",
        ["wrn_10_2/wrn_10"],
        ".figures.figure1.pairs",
        "pair 'wrn_10_2/wrn_10'",
        PAIR,
    ),
    ("figures figure1 distillers", ["kdd"], ".figures.figure1.distillers", "distiller 'kdd'", "kd"),
    ("figures figure1 evry", 4, ".figures.figure1", "key 'evry'", "every"),
]

# where a value is put, the value, the key that is named, what was expected
BAD_VALUES = [
    ("study", "My Study", ".study", f"""expected '^{NAME}$'; got "My Study\""""),
    ("seeds", [], ".seeds", "expected at least one entry; got []"),
    ("seeds", 3, ".seeds", "expected a list; got 3"),
    ("seeds", [0, -1], ".seeds.1", "expected greater than or equal to 0; got -1"),
    ("threads", "two", ".threads", 'expected a whole number; got "two"'),
    ("deterministic", "maybe", ".deterministic", 'expected true or false; got "maybe"'),
    ("store", 3, ".store", "expected a text; got 3"),
    ("pairs", {}, ".pairs", "expected at least one entry; got {}"),
    ("pairs", 3, ".pairs", "expected a mapping; got 3"),
    ("device", "gpu", ".device", """expected 'auto', 'cpu' or 'cuda'; got "gpu\""""),
    ("precision", "tf23", ".precision", "expected 'float32', 'tf32' or 'bfloat16'; got \"tf23\""),
    ("runs_per_job", 2.5, ".runs_per_job", "expected a whole number; got 2.5"),
    ("recipes demo", "long", ".recipes.demo", 'expected a mapping; got "long"'),
    ("recipes demo lr", "fast", ".recipes.demo.lr", 'expected a number or a mapping; got "fast"'),
    ("recipes demo lr", {"default": "a"}, ".recipes.demo.lr.default", 'expected a number; got "a"'),
    ("recipes demo lr", 0, ".recipes.demo", "expected a learning rate above 0 in `lr`"),
    ("recipes demo lr", {"wrn_10_2": 0.1}, ".recipes.demo", "expected a `default` in `lr`"),
    ("recipes demo momentum", 1.0, ".recipes.demo.momentum", "expected less than 1; got 1.0"),
    (
        "recipes demo decay_at",
        [10, 16],
        ".recipes.demo",
        "expected epochs between 1 and 15 in `decay_at`",
    ),
    (
        "recipes demo decay_at",
        [12, 10],
        ".recipes.demo",
        "expected epochs in ascending order in `decay_at`",
    ),
    ("recipes Slow", {}, ".recipes.Slow", NAME),
    ("data digits", "digits", ".data.digits", "expected a mapping; got 'digits'"),
    (
        "data digits augment flip",
        1.5,
        ".data.digits.augment.flip",
        "expected less than or equal to 1; got 1.5",
    ),
    (
        "data digits true_labels confusion",
        0.5,
        ".data.digits.true_labels.confusion",
        "expected less than 0.5; got 0.5",
    ),
    (
        "data digits true_labels split",
        [0.5, 0.3],
        ".data.digits.true_labels",
        "expected positive shares in `split` that sum to 1",
    ),
    (
        "pairs small",
        NEW_PAIR,
        ".pairs.small",
        "expected a name of the form teacher/student, or the keys `teacher` and `student`",
    ),
    ("pairs a/b/c", NEW_PAIR, ".pairs.a/b/c", NAME),
    ("teachers", [], ".teachers", "expected a mapping of at least one name"),
    ("teachers SoTeacher", {}, ".teachers", f"expected names like {NAME}; got 'SoTeacher'"),
    ("teachers standard", ["lipschitz"], ".teachers.standard", "expected a mapping; got ["),
    (
        "teachers soteacher lipschitz weight",
        -1,
        ".teachers.soteacher.lipschitz.weight",
        "expected greater than or equal to 0; got -1",
    ),
    (
        "teachers soteacher consistency",
        {"ramp": "linar"},
        ".teachers.soteacher.consistency.ramp",
        "expected 'linear', 'cosine', 'cyclic' or 'piecewise'",
    ),
    ("tables table1 kind", ["accuracy"], ".tables.table1.kind", "unknown kind '['accuracy']'"),
    ("tables table1 kind", "checkpoints", ".tables.table1.kind", "known: accuracy, agreement, "),
    ("figures figure1 kind", "accuracy", ".figures.figure1.kind", "known: checkpoints, curves, "),
    (
        "tables table4 columns",
        ["teacher.agreement"],
        ".tables.table4.columns.0",
        "expected 'student.agreement' or 'student.predictive_kl'",
    ),
    (
        "tables truth columns",
        ["student.top5"],
        ".tables.truth.columns.0",
        "expected 'teacher.train_distance', ",
    ),
    ("figures figure1 every", 0, ".figures.figure1.every", "expected greater than or equal to 1"),
    ("figures", ["figure1"], ".figures", "expected a mapping; got ['figure1']"),
    ("figures Figure1", {}, ".figures", f"expected names like {NAME}; got 'Figure1'"),
    ("figures figure1", "checkpoints", ".figures.figure1", "expected a mapping; got 'checkpoints'"),
    (
        "tables table1 columns",
        ["student.top2"],
        ".tables.table1.columns.0",
        "expected 'student.top1', 'student.top5', 'teacher.top1' or 'teacher.top5'",
    ),
    ("tables table1 pairs", "al", ".tables.table1.pairs", "expected 'all' or a list; got \"al\""),
    ("tables table1 seeds", [-1], ".tables.table1.seeds.0", "expected greater than or equal to 0"),
]

REQUIRED = [
    "study",
    "seeds",
    "data",
    "recipes",
    "pairs",
    "teachers",
    "distillers",
    "tables",
    "data digits source",
    "data digits true_labels confusion",
    "recipes demo epochs",
    "recipes demo batch",
    "recipes demo lr",
    "recipes demo decay_at",
    f"pairs {PAIR} data",
    f"pairs {PAIR} teacher_recipe",
    f"pairs {PAIR} student_recipe",
    "tables table1 kind",
    "tables table1 teachers",
    "tables table1 distillers",
    "tables table3 teachers",
    "tables table4 distillers",
    "figures figure1 kind",
    "figures figure1 every",
    "figures curves distillers",
    "figures reliability teachers",
]

NOTHING_IN_IT = [("pairs", {}), ("tables", {}), ("tables table1 pairs", [])]
NOTHING_IN_IT += [("tables table1 seeds", []), ("tables table1 columns", [])]
TWICE = [("seeds", [0, 0]), ("tables table1 seeds", [1, 1]), ("tables table1 pairs", [PAIR, PAIR])]
TWICE += [("tables table1 teachers", ["standard", "standard"])]
TWICE += [("tables table1 distillers", ["kd", "kd"])]
TWICE += [("tables table1 columns", ["student.top1", "student.top1"])]

MISSPELT_KEYS = [
    "devise",
    "recipes demo epoch",
    "data digits augmnt",
    "data digits augment crop_pading",
    "data digits true_labels confusoin",
    f"pairs {PAIR} recipe",
    "teachers soteacher lipshitz",
    "teachers soteacher lipschitz wieght",
    "distillers kd temprature",
    "tables table1 colums",
    "tables table3 network",
    "figures figure1 evry",
]


def last_mapping(values, path):
    """The mapping that holds the last key of a path, and that key."""
    *outer, key = path.split()
    for name in outer:
        values = values[name]
    return values, key


def put(values, path, value):
    """The values, with one of them set."""
    mapping, key = last_mapping(values, path)
    mapping[key] = value
    return values


def refusal(values):
    """The one line with which a study is refused."""
    with pytest.raises(UserError) as caught:
        expand(read(values, "bad.yaml"))
    text = str(caught.value)
    assert "\n" not in text
    return text


def plan_command(root, path):
    return subprocess.run(
        [sys.executable, "-m", "soteacher", "plan", str(path)],
        cwd=root,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(("path", "value", "key", "unknown", "nearest"), UNKNOWN_NAMES)
def test_an_unknown_name_is_refused_with_its_key_and_the_nearest_known_name(
    demo, path, value, key, unknown, nearest
):
    text = refusal(put(demo, path, value))
    assert text.startswith(f"bad.yaml{key}: unknown {unknown}; known: ")
    assert text.endswith(f"; did you mean '{nearest}'?")


def test_an_unknown_name_that_is_near_no_other_is_refused_with_the_known_ones(demo):
    text = refusal(put(demo, "teachers standard", {"dropout": {}}))
    assert text == (
        "bad.yaml.teachers.standard: unknown regularizer 'dropout'; known: "
        "augmix, consistency, crl, cutmix, l1, label_smoothing, lipschitz, mcmi, mixup, mse"
    )


@pytest.mark.parametrize(("path", "value", "key", "expected"), BAD_VALUES)
def test_a_bad_value_is_refused_with_its_key_and_what_was_expected(
    demo, path, value, key, expected
):
    text = refusal(put(demo, path, value))
    assert text.startswith(f"bad.yaml{key}: ")
    assert expected in text


@pytest.mark.parametrize("path", REQUIRED)
def test_a_missing_key_is_refused_by_its_name(demo, path):
    mapping, key = last_mapping(demo, path)
    del mapping[key]
    assert refusal(demo).startswith(f"bad.yaml.{path.replace(' ', '.')}: missing; ")


@pytest.mark.parametrize(("path", "value"), NOTHING_IN_IT)
def test_a_list_or_mapping_with_nothing_in_it_is_refused_by_its_name(demo, path, value):
    assert refusal(put(demo, path, value)).startswith(f"bad.yaml.{path.replace(' ', '.')}: ")


@pytest.mark.parametrize(("path", "value"), TWICE)
def test_a_name_or_seed_listed_twice_is_refused_by_the_name_of_its_list(demo, path, value):
    assert refusal(put(demo, path, value)).startswith(f"bad.yaml.{path.replace(' ', '.')}: ")


@pytest.mark.parametrize("part", ["data", "teachers", "distillers"])
def test_a_number_is_no_name(demo, part):
    demo[part][5] = {}
    text = refusal(demo)
    assert text == f"bad.yaml.{part}: expected texts as keys; got 5"


def test_more_shares_of_the_confusion_than_other_classes_are_refused(demo, tmp_path):
    from soteacher.data.prepared import prepare

    demo["data"]["digits"]["true_labels"]["split"] = [0.1] * 10
    with pytest.raises(UserError, match="split"):
        prepare(expand(read(demo)).data_spec("digits"), tmp_path)


def test_a_weight_by_data_set_that_lacks_one_is_refused_with_the_data_set(demo):
    put(demo, "teachers soteacher lipschitz weight", {"digts": 1e-4})
    text = refusal(demo)
    assert "teachers.soteacher.lipschitz.weight: unknown data set 'digts'" in text
    assert text.endswith("; did you mean 'digits'?")


def test_a_number_that_yaml_reads_as_text_is_a_number(demo):
    text = yaml.safe_dump(demo).replace("weight: 0.0001", "weight: 1e-4").replace("0.05", "5e-2")
    values = yaml.safe_load(text)
    assert values["teachers"]["no_cr"]["lipschitz"]["weight"] == "1e-4"
    assert values["recipes"]["demo"]["lr"] == "5e-2"
    study = read(values)
    assert study.teachers["no_cr"].regularizers["lipschitz"].weight == 1e-4
    assert study.recipes["demo"].lr == 0.05


def test_an_empty_key_is_an_empty_mapping(demo):
    demo["teachers"]["standard"] = None
    demo["teachers"]["no_lr"]["consistency"] = None
    demo["distillers"]["kd"] = None
    study = read(demo)
    assert study.teachers["standard"].regularizers == {}
    assert study.teachers["no_lr"].regularizers["consistency"].weight == 1.0
    assert study.distillers["kd"].distiller.temperature == 4.0


def test_the_demo_is_read_as_it_is_written(root):
    study = load(root / "config" / "demo.yaml")
    assert study.study == "demo"
    assert study.seeds == (10, 11, 12)
    of_table_1 = ["standard", "soteacher", "no_cr", "no_lr"]
    of_table_7 = ["l2", "l1", "mixup", "cutmix", "augmix", "crl", "label_smoothing"]
    beyond = ["oracle", "mse", "early_stopped"]
    assert list(study.teachers) == [*of_table_1, *of_table_7, *beyond]
    assert study.teachers["soteacher"].regularizers["lipschitz"].weight == 3e-4
    assert study.recipes["demo"].decay_at == (12, 16, 18)
    assert study.data["digits"].true_labels.confusion == 0.4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"study: demo\nseedz: [0]\n", "bad.yaml: unknown key 'seedz'"),
        (b"study: [demo\n", "bad.yaml is not valid YAML: "),
        (b"- study\n- demo\n", "bad.yaml: expected a mapping of study keys"),
        (b"", "bad.yaml: expected a mapping of study keys"),
        (b"study: d\xe9mo\n", "bad.yaml"),
        (None, "cannot read the study file "),
    ],
    ids=["misspelt key", "broken YAML", "a list", "empty", "not UTF-8", "no file"],
)
def test_the_plan_command_refuses_a_bad_file_with_one_line_and_exit_code_2(
    root, tmp_path, content, said
):
    path = tmp_path / "bad.yaml"
    if content is not None:
        path.write_bytes(content)
    done = plan_command(root, path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "soteacher: error: " in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@cache
def validator():
    """It is made once: the schema takes a second."""
    return jsonschema.Draft202012Validator(json_schema())


def schema_errors(values):
    return list(validator().iter_errors(values))


def test_the_schema_file_is_what_the_code_says(root):
    path = root / "config" / "study.schema.json"
    known = json.loads(path.read_text()) if path.is_file() else None
    assert known == json_schema(SHIPPED), (
        "config/study.schema.json is not up to date: "
        "python -m soteacher schema > config/study.schema.json"
    )


def test_the_schema_is_a_valid_one_that_accepts_the_demo(demo):
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert schema_errors(demo) == []


@pytest.mark.parametrize("path", MISSPELT_KEYS)
def test_the_schema_refuses_a_misspelt_key_at_its_place(demo, path):
    put(demo, path, 1)
    errors = schema_errors(demo)
    assert len(errors) == 1
    at = ".".join(errors[0].absolute_path)
    assert path.replace(" ", ".").startswith(at)


def test_the_schema_accepts_what_may_be_left_empty(demo):
    demo["teachers"]["standard"] = None
    demo["teachers"]["no_lr"]["consistency"] = None
    demo["distillers"]["kd"] = None
    demo["data"]["digits"]["true_labels"] = None
    demo["data"]["digits"]["augment"] = None
    del demo["tables"]["truth"], demo["tables"]["table7_truth"]
    demo["figures"] = None
    read(demo)
    assert schema_errors(demo) == []


@pytest.mark.parametrize("name", ["all", "teach", "table"])
def test_a_table_named_as_a_rule_is_refused(demo, name):
    demo["tables"][name] = demo["tables"]["table1"]
    assert refusal(demo) == f"bad.yaml.tables: '{name}' is the name of a rule; choose another name"


@pytest.mark.parametrize("store", ["results", "results/demo", "results/demo/store", "."])
def test_a_store_in_or_around_the_results_is_refused(demo, store):
    demo["store"] = store
    assert refusal(demo).startswith("bad.yaml.store: expected a folder outside results/demo that")


@pytest.mark.parametrize("name", ["all", "teach", "figure"])
def test_a_figure_named_as_a_rule_is_refused(demo, name):
    demo["figures"][name] = demo["figures"]["curves"]
    assert refusal(demo) == f"bad.yaml.figures: '{name}' is the name of a rule; choose another name"


def test_one_name_for_a_table_and_a_figure_is_refused(demo):
    demo["figures"]["table3"] = demo["figures"]["curves"]
    assert refusal(demo) == "bad.yaml.figures: a table is also named 'table3'; choose another name"


def test_a_key_of_another_kind_is_refused_with_those_of_its_own(demo):
    put(demo, "tables table3 pairs", "all")
    assert refusal(demo) == (
        "bad.yaml.tables.table3: unknown key 'pairs'; known: kind, networks, seeds, teachers"
    )
    del demo["tables"]["table3"]["pairs"]
    put(demo, "figures curves every", 4)
    assert refusal(demo) == (
        "bad.yaml.figures.curves: unknown key 'every'; "
        "known: distillers, kind, pairs, seeds, teachers"
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("teachers", ["standard"], "at least 2 entries"),
        ("seeds", [0, 1], "at most one entry"),
        ("steps", 0, "greater than or equal to 1"),
        ("networks", ["wrn_10_1"], "unknown teacher network 'wrn_10_1'"),
        ("step", 9, "unknown key 'step'"),
    ],
)
def test_a_table_of_steps_that_cannot_be_is_refused_in_one_line(demo, key, value, expected):
    put(demo, f"tables overhead {key}", value)
    said = refusal(demo)
    assert said.startswith("bad.yaml.tables.overhead") and key in said and expected in said
    assert "\n" not in said


def test_distances_to_unknown_distributions_are_refused_with_what_to_do(demo):
    demo["data"]["plain"] = {"source": "digits"}
    put(demo, "pairs wrn_10_2/wrn_16_1 data", "plain")
    assert refusal(demo) == (
        "bad.yaml.tables.truth: the true label distributions of 'plain' are not known; set its "
        "`true_labels`, or leave out the pairs with this data set"
    )
    read(put(demo, "tables truth pairs", [PAIR]))


def test_the_hardest_tenth_of_equally_certain_images_is_refused_with_what_to_do(demo):
    put(demo, "tables truth columns", ["teacher.train_excess_nll_hardest", "student.top1"])
    assert refusal(demo) == (
        "bad.yaml.tables.truth.columns: tenths of disagreement need label counts of each image, "
        "and 'digits' has none; set `true_labels: {counts: FILE}` of it, or leave out the pairs "
        "with this data set"
    )
    block = {"kind": "disagreement", "teachers": ["standard"], "distillers": ["kd"]}
    demo["figures"] = {"tenths": block | {"pairs": [PAIR]}}
    put(demo, "tables truth columns", ["student.top1"])
    assert refusal(demo).startswith("bad.yaml.figures.tenths.pairs: tenths of disagreement need")
    demo["data"]["digits"]["true_labels"] = {"counts": "counts.npy"}
    put(demo, "tables truth columns", ["teacher.train_excess_nll_hardest"])
    read(demo)


def test_checkpoints_of_a_recipe_that_keeps_none_are_refused_with_what_to_do(demo):
    put(demo, "recipes demo keep_every", 0)
    assert refusal(demo) == (
        "bad.yaml.figures.figure1.every: needs the teacher's weights every 4 epochs, but "
        "recipe 'demo' keeps only the last ones; set its keep_every to 4, or to a divisor of it"
    )
    read(put(demo, "recipes demo keep_every", 2))


def test_checkpoints_between_those_that_a_recipe_keeps_are_refused_with_what_to_do(demo):
    put(demo, "figures figure1 every", 6)
    assert refusal(demo) == (
        "bad.yaml.figures.figure1.every: needs the teacher's weights every 6 epochs, but "
        "recipe 'demo' keeps them every 4; set its keep_every to 6, or to a divisor of it"
    )
    read(put(demo, "figures figure1 every", 8))


def test_checkpoints_of_the_last_epoch_alone_are_refused(demo):
    put(demo, "figures figure1 every", 16)
    assert refusal(demo) == (
        "bad.yaml.figures.figure1.every: expected less than the 16 epochs of recipe 'demo', "
        "because the figure shows several epochs; got 16"
    )


def test_a_key_that_is_there_twice_is_refused_with_its_line(tmp_path):
    path = tmp_path / "bad.yaml"
    for text, key in (
        ("seeds: [0]\nstudy: a\nseeds: [1]\n", "seeds"),
        ("seeds: [0]\ntables:\n  table1: {kind: accuracy, kind: agreement}\n", "kind"),
    ):
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            load(path)
        assert str(caught.value) == f"{path}, line 3: the key '{key}' appears twice"


def test_a_key_that_an_alias_brings_may_be_given_anew(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}\n")
    assert values_of(path)["c"] == {"x": 3, "y": 4}


def test_only_the_teacher_s_recipe_must_keep_checkpoints(demo):
    demo["recipes"]["students"] = demo["recipes"]["demo"] | {"keep_every": 0}
    for pair in demo["pairs"].values():
        pair["student_recipe"] = "students"
    read(demo)


@pytest.mark.parametrize("left_out", ["figures", "tables truth networks", "figures curves pairs"])
def test_what_may_be_left_out_is_left_out_of_the_schema_s_demands_too(demo, left_out):
    mapping, key = last_mapping(demo, left_out)
    mapping.pop(key, None)
    assert schema_errors(demo) == []
    assert expand(read(demo)).study.figures.keys() == demo.get("figures", {}).keys()


BLOCKS = {
    "accuracy": {"distillers": ["kd"], "columns": ["teacher.top5"]},
    "agreement": {"distillers": ["kd"], "pairs": [PAIR]},
    "calibration": {"networks": ["wrn_10_2"], "seeds": [3]},
    "overhead": {"teachers": ["standard", "soteacher"], "steps": 5},
    "truth_distance": {
        "pairs": [PAIR],
        "distillers": ["kd"],
        "columns": ["student.test_distance_l1"],
    },
    "checkpoints": {"pairs": [PAIR], "distillers": ["kd"], "every": 8},
    "curves": {"distillers": ["kd"], "pairs": "all"},
    "disagreement": {"distillers": ["kd"], "pairs": [PAIR]},
    "predictors": {"pairs": [PAIR], "distillers": ["kd"]},
    "reliability": {"networks": "all"},
    "sweep": {"distillers": ["kd"], "base": "soteacher", "vary": {"consistency.weight": [0, 3]}},
    "grid": {"distillers": ["kd"], "base": "soteacher"}
    | {"vary": {"consistency.weight": [0, 3], "lipschitz.weight": [0, 3]}},
}
FIGURES = ("checkpoints", "curves", "disagreement", "grid", "predictors", "reliability", "sweep")


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("key", ["networks", "pairs", "columns", "every", "distillers", "seeds"])
def test_the_schema_and_the_reader_take_and_refuse_the_same_keys_of_each_kind(demo, kind, key):
    values = {
        "networks": ["wrn_10_2"],
        "pairs": [PAIR],
        "columns": BLOCKS[kind].get("columns", ["student.top1"]),
        "every": 4,
        "distillers": ["kd"],
        "seeds": [0, 1],
    }
    part = "figures" if kind in FIGURES else "tables"
    block = {"kind": kind, "teachers": ["standard"]} | BLOCKS[kind] | {key: values[key]}
    demo["data"]["digits"]["true_labels"] = {"counts": "counts.npy"}  # a kind needs counts
    demo[part]["asked"] = block
    try:
        read(demo)
        taken = True
    except UserError as error:
        taken = False
        assert str(error).startswith(f"study.{part}.asked")
    assert [list(error.absolute_path) for error in schema_errors(demo)] == (
        [] if taken else [[part, "asked"]]
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tables table4 kind", "checkpoints"),
        ("figures figure1 kind", "accuracy"),
        ("figures figure1 every", 0),
        ("tables table3 networks", []),
        ("tables overhead teachers", ["standard"]),
        ("tables overhead steps", 0),
        ("tables overhead seeds", [0, 1]),
        ("tables table4 columns", ["student.top1"]),
        ("figures", []),
    ],
)
def test_the_schema_refuses_bad_blocks_as_the_reader_does(demo, path, value):
    put(demo, path, value)
    refusal(demo)
    assert len(schema_errors(demo)) == 1


SWEEP = {
    "kind": "sweep",
    "base": "soteacher",
    "teachers": ["standard"],
    "distillers": ["kd"],
    "vary": {"lipschitz.weight": [0, 0.1]},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base": "sotaecher"}, "base: unknown teacher method 'sotaecher'"),
        ({"vary": {}}, "vary: expected at least one entry; got {}"),
        ({"vary": {"lipschitz.weight": []}}, "vary.lipschitz.weight: "),
        ({"vary": {"lipschitz.weight": [1, 1.0]}}, "vary.lipschitz.weight: expected each entry"),
        ({"vary": {"lipschitz.weight": [-1]}}, "vary.lipschitz.weight: lipschitz.weight: "),
        ({"vary": {"lipschitz.wieght": [1]}}, "vary.lipschitz.wieght: unknown setting"),
        (
            {"vary": {"lipschitz": [1]}},
            "vary.lipschitz: 'lipschitz' names no setting; expected a regularizer and, after a "
            "dot, its setting, such as lipschitz.",
        ),
        ({"vary": {"lipschitz.": [1]}}, "vary.lipschitz.: 'lipschitz.' names no setting; "),
        ({"vary": {".weight": [1]}}, "vary..weight: '.weight' names no setting; expected a reg"),
        ({"vary": {"weight": [1]}}, "vary.weight: 'weight' names no setting; expected a regular"),
        ({"vary": {"consistency.ramp": ["liner"]}}, "vary.consistency.ramp: consistency.ramp: "),
        ({"base": "no_lr"}, "vary.lipschitz.weight: unknown regularizer of the base 'lipschitz'"),
    ],
    ids=str,
)
def test_a_sweep_that_is_impossible_is_refused_with_its_key(demo, change, said):
    demo["figures"]["figure2"] = SWEEP
    read(demo)
    demo["figures"]["figure2"] = SWEEP | change
    with pytest.raises(UserError) as caught:
        expand(read(demo))
    assert str(caught.value).startswith(f"study.figures.figure2.{said}")


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({"lipschitz.weight": [0]}, "vary: expected "),
        (
            {"lipschitz.weight": [0], "consistency.weight": [0], "consistency.ramp": ["linear"]},
            "vary",
        ),
        ({"lipschitz.weight": [1], "consistency.ramp": ["liner"]}, "vary.consistency.ramp: "),
    ],
    ids=["one", "three", "a value"],
)
def test_a_grid_that_is_impossible_is_refused_with_its_key(demo, vary, said):
    crossed = {"lipschitz.weight": [1], "consistency.ramp": ["cosine"]}
    demo["figures"]["figure2"] = SWEEP | {"kind": "grid", "vary": crossed}
    read(demo)
    demo["figures"]["figure2"] = SWEEP | {"kind": "grid", "vary": vary}
    with pytest.raises(UserError) as caught:
        expand(read(demo))
    assert str(caught.value).startswith(f"study.figures.figure2.{said}")
    assert "\n" not in str(caught.value)
