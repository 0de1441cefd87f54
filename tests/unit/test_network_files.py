"""Networks from outside the package: files that a study lists, libraries, installed packages."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest
import yaml

from soteacher.core.errors import UserError
from soteacher.models import catalogue, facts, outside
from soteacher.models.facts import Facts, facts_of
from soteacher.models.measured import measured
from soteacher.study.expand import expand, expand_possible
from soteacher.study.load import read
from soteacher.study.network_files import load_networks
from soteacher.study.specs import RunSpec

PLAIN = '''"""Two convolutions."""

from torch import nn

from soteacher.models.output import Output


class Plain(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.second = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.last = nn.Linear(6, n_classes)

    def forward(self, x):
        stage1 = self.first(x).relu()
        stage2 = self.second(stage1).relu()
        pooled = stage2.mean(dim=(2, 3))
        return Output(self.last(pooled), {"stage1": stage1, "stage2": stage2, "pooled": pooled})


def build(n_classes, height, width):
    return Plain(n_classes)
'''
MAPLESS = PLAIN.replace('"stage1": stage1, "stage2": stage2, ', "")
PAIR = {"data": "d", "teacher_recipe": "short", "student_recipe": "short"}
DATA = {"source": "generated", "n_train": 32, "n_test": 4, "n_classes": 3, "size": 8}
KNOWN = Facts(10, 100, (5,), 1, ("stage1", "pooled"), {"stage1": (8, 8)}, True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with network files in it; none is loaded before or after."""
    monkeypatch.setattr(outside, "_files", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/plain.py").write_text(PLAIN)
    (tmp_path / "mine/mapless.py").write_text(MAPLESS)
    return tmp_path


@pytest.fixture
def known_facts(monkeypatch):
    """Facts without a process, for what does not depend on the numbers."""
    monkeypatch.setattr(catalogue, "facts_of", lambda *_: KNOWN)


def study(teacher="plain", student="wrn_10_1", distillers=("kd",), **changes):
    table = {"kind": "accuracy", "teachers": ["standard"], "distillers": [*distillers]}
    values = {
        "study": "s",
        "seeds": [0],
        "networks": ["mine/plain.py"],
        "data": {"d": DATA},
        "recipes": {"short": {"epochs": 2, "batch": 16, "lr": 0.05, "decay_at": [1]}},
        "pairs": {"p": PAIR | {"teacher": teacher, "student": student}},
        "teachers": {"standard": {}},
        "distillers": {name: {} for name in distillers},
        "tables": {"t": table},
    }
    return values | changes


def runs(**settings):
    return expand(read(study(**settings))).runs


def refused(*files):
    with pytest.raises(UserError) as error:
        load_networks(files)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_s_network_is_in_the_specs_by_the_hash_of_its_content(folder, known_facts):
    teacher, student = runs().values()
    [network] = load_networks(["mine/plain.py"])
    expected = {"name": "plain", "revision": 1, "code_sha256": network.code_sha256}
    assert teacher.spec.to_json()["network"] == expected
    assert student.spec.to_json()["teacher"]["network"] == expected
    assert student.spec.to_json()["network"] == {"name": "wrn_10_1", "revision": 1}
    assert RunSpec.from_json(json.loads(student.spec.canonical)) == student.spec
    assert teacher.id == "d/plain/standard/seed0"


def test_another_place_is_the_same_run_and_another_content_is_another(folder, known_facts):
    before = {run.id: run.spec.sha256 for run in runs().values()}
    (folder / "mine/plain.py").rename(folder / "plain.py")
    assert {r.id: r.spec.sha256 for r in runs(networks=["plain.py"]).values()} == before
    (folder / "plain.py").write_text(PLAIN + "# changed\n")
    after = {r.id: r.spec.sha256 for r in runs(networks=["plain.py"]).values()}
    assert after.keys() == before.keys() and not {*after.values()} & {*before.values()}


def test_a_job_refuses_another_content_than_the_plan_s(folder, known_facts, monkeypatch):
    teacher, _ = runs().values()
    teacher.spec.network.check()
    (folder / "mine/plain.py").write_text(PLAIN + "# changed\n")
    load_networks(["mine/plain.py"])
    with pytest.raises(UserError, match=r"mine/plain\.py now has sha256 .*: restore the file, or"):
        teacher.spec.network.check()
    monkeypatch.setattr(outside, "_files", {})
    with pytest.raises(UserError, match="not loaded: list the file under `networks`"):
        teacher.spec.network.check()


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("wrn_10_1", PLAIN, "soteacher already has a network with this name; rename the file"),
        ("broken", "x = (\n", "broken.py, line 1: '(' was never closed; correct the file"),
        ("empty", "", "empty.py: expected a function build(n_classes, height, width)"),
        ("other", "def build(n):\n    pass", "other.py: expected a function build(n_classes, hei"),
        ("Upper", PLAIN, "expected a file named like my_network.py"),
    ],
)
def test_what_cannot_be_used_is_one_line_with_the_path_and_the_remedy(folder, name, code, said):
    (folder / f"{name}.py").write_text(code)
    assert said in refused(f"{name}.py")


def test_a_missing_file_and_two_of_one_name_are_refused(folder):
    assert "cannot read mine/far.py: No such file or directory" in refused("mine/far.py")
    (folder / "plain.py").write_text(PLAIN)
    assert "both named 'plain'; rename one of them" in refused("mine/plain.py", "plain.py")
    with pytest.raises(UserError, match=r"^study\.networks: cannot read mine/far\.py"):
        read(study(networks=["mine/far.py"]))


def test_an_unknown_network_is_refused_with_the_files_names_too(folder):
    with pytest.raises(UserError, match=r"study\.pairs\.p: unknown network 'plian'.*did you mean"):
        read(study(teacher="plian"))
    with pytest.raises(UserError, match="unknown network 'keras/resnet18'"):
        read(study(teacher="keras/resnet18"))


def test_a_library_that_is_not_installed_is_named_with_the_command(folder, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(outside, "version", missing)
    with pytest.raises(UserError, match=r"needs the package timm.*python -m pip install timm$"):
        read(study(teacher="timm/resnet18"))


def test_a_library_s_version_is_in_the_spec_and_a_job_with_another_refuses(
    folder, known_facts, monkeypatch
):
    monkeypatch.setattr(outside, "version", lambda name: "1.0")
    teacher, _ = runs(teacher="timm/resnet18").values()
    expected = {"name": "timm/resnet18", "revision": 1, "package": "timm 1.0"}
    assert teacher.spec.to_json()["network"] == expected
    assert teacher.id == "d/timm.resnet18/standard/seed0"
    monkeypatch.setattr(outside, "version", lambda name: "1.1")
    with pytest.raises(UserError, match=r"of timm 1\.0, but timm 1\.1 is used now"):
        teacher.spec.network.check()


def test_facts_are_measured_once_and_equal_counts_by_hand(folder, monkeypatch):
    [network] = load_networks(["mine/plain.py"])
    found = facts_of(network, 8, 6, 3)
    first, second = 3 * 4 * 9, 4 * 6 * 9
    assert found == Facts(
        parameters=first + 2 * 4 + second + 6 + 6 * 3 + 3,
        flops=2 * (first * 8 * 6 + second * 4 * 3 + 6 * 3),
        values=(4 * 8 * 6, 6 * 4 * 3),
        norms=1,
        features=("stage1", "stage2", "pooled"),
        maps={"stage1": (8, 6), "stage2": (4, 3)},
        one_image=True,
    )
    monkeypatch.setattr(facts.subprocess, "run", None)
    facts_of.cache_clear()
    assert facts_of(network, 8, 6, 3) == found
    [kept] = (folder / "results/.networks").glob("plain-*.json")
    kept.write_text("{}")  # damaged: measured again
    facts_of.cache_clear()
    with pytest.raises(TypeError, match="NoneType"):
        facts_of(network, 8, 6, 3)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("Plain(n_classes)\n", "missing\n", "NameError: name 'missing' is not defined"),
        ("return Output(self.last(pooled),", "return (self.last(pooled),", "it returns tuple"),
        ("Plain(n_classes)\n", "Plain(7)\n", "its logits are (1, 7); expected (1, 3)"),
        ('"pooled": pooled', '"end": pooled', "no feature 'pooled'"),
        ('"stage2": stage2', '"stage2": pooled', "'stage2' is (1, 6); expected (B, C, H, W)"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused_in_the_plan(folder, was, now, said):
    assert was in PLAIN
    (folder / "mine/plain.py").write_text(PLAIN.replace(was, now))
    reason = expand_possible(read(study())).impossible["t"]
    assert said in reason and "correct the file" in reason and "\n" not in reason


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("self.last(pooled),", "self.last(pooled).long(),", "its logits are of torch.int64; expec"),
        ("self.last(pooled),", "self.last(pooled) + 0j,", "its logits are of torch.complex64; ex"),
        ("self.last(pooled),", "None,", "its logits are NoneType; expected a tensor"),
        ("self.last(pooled),", "self.last(pooled).tolist,", "its logits are builtin_function_or_"),
        ("self.last(pooled),", "self.last(pooled).detach(),", "its logits have no gradient in tr"),
        ("Plain(n_classes)\n", "Plain(n_classes).requires_grad_(False)\n", "it has no parameters"),
        ('{"stage1": stage1,', 'None and {"stage1": 1,', "its features are NoneType; expected a"),
        ('"stage2": stage2', '"stage2": None', "its feature 'stage2' is NoneType; expected a ten"),
        ('"stage2": stage2', '"stage2": stage2 > 0', "its feature 'stage2' is of torch.bool; exp"),
        (
            "return Plain(n_classes)",
            "from soteacher.core.errors import UserError; raise UserError('too small')",
            "the network 'plain' (mine/plain.py) cannot be used for 3 classes and images of 8x8 "
            "pixels: too small; correct the file",
        ),
    ],
)
def test_a_network_that_cannot_be_trained_or_compared_is_refused(folder, was, now, said):
    assert was in PLAIN
    (folder / "mine/plain.py").write_text(PLAIN.replace(was, now))
    [network] = load_networks(["mine/plain.py"])
    with pytest.raises(UserError) as error:
        measured(network, 3, 8, 8)  # in this process; plans run it in another one
    assert said in str(error.value) and str(error.value).endswith("; correct the file")
    assert "\n" not in str(error.value)


def test_methods_that_match_maps_are_refused_by_name_for_a_network_without(folder):
    names = ("kd", "dkd", "dist", "rkd", "crd", "pkt", "cc", "sskd")
    files = {"networks": ["mine/plain.py", "mine/mapless.py"]}
    assert len(runs(**files, teacher="mapless", student="plain", distillers=names)) == 9
    for name in ("at", "fitnet", "ft", "nst", "sp", "vid"):
        for teacher, student in (("mapless", "plain"), ("wrn_10_1", "mapless")):
            asked = study(teacher, student, (name,), **files)
            expected = rf"{name} needs the feature 'stage1' of both networks, but mapless has only"
            with pytest.raises(UserError, match=expected):
                expand(read(asked))
    with pytest.raises(UserError, match=r"ab needs the feature 'stage1_pre' .* plain has only"):
        expand(read(study(distillers=("ab",))))


def test_a_study_with_a_network_file_is_read_and_planned_without_torch(folder):
    (folder / "study.yaml").write_text(yaml.safe_dump(study()))
    code = (
        "import sys; from pathlib import Path; from soteacher.study.load import load\n"
        "from soteacher.study.expand import expand\n"
        "assert len(expand(load(Path('study.yaml'))).runs) == 2 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
