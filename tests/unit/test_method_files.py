"""Loss terms from outside the package: files that a study lists, and installed packages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from soteacher.cli import main
from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.core.registry import name_of
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.method_files import load_methods
from soteacher.study.paper import deviations
from soteacher.study.spec_parts import TermSpec
from soteacher.study.specs import PreparationSpec, RunSpec

NEAR = '''"""Pooled features near each other."""

from __future__ import annotations

from soteacher.methods import FeatureDistiller, Table5, Weight, register, torch


@register
class Near(FeatureDistiller):
    """Mean squared error of means of pooled features."""

    weight: Weight = Table5(standard=2.0, soteacher=1.0)
    share: float = 0.5

    def feature_loss(self, batch, student, teacher):
        return (student["pooled"].mean() - teacher["pooled"].mean()).square()
'''
FLAT = '''"""Flat predictions."""

from soteacher.methods import Regularizer, register


@register
class Flat(Regularizer):
    """The mean square of the logits."""

    def losses(self, batch, output, teacher, network):
        return {"flat": output.logits.square().mean()}
'''
HEAD = "from soteacher.methods import *\n"
ONE = "@register\nclass {}(Distiller):\n    pass\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with both methods in it; nothing is loaded before or after."""
    monkeypatch.setattr(registry, "_files", {})
    monkeypatch.setattr(registry, "_outside", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/near.py").write_text(NEAR)
    (tmp_path / "mine/flat.py").write_text(FLAT)
    return tmp_path


@pytest.fixture
def study(folder, wide):
    """A study with the file's distiller for students and the regularizer for some teachers."""
    wide["methods"] = ["mine/near.py", "mine/flat.py"]
    wide["teachers"] |= {"flat": {"flat": {}}}
    wide["distillers"] = {"near": {}, "kd": {}, "nearer": {"method": "near", "share": 0.9}}
    wide["tables"] = {
        "first": {
            "kind": "accuracy",
            "teachers": ["standard", "flat"],
            "distillers": ["near", "kd", "nearer"],
        }
    }
    return wide


def runs(study):
    return expand(read(study)).runs.values()


def terms(run):
    return run.spec.to_json()["terms"]


def refused(*files):
    with pytest.raises(UserError) as error:
        load_methods(files)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_s_method_is_used_by_the_name_of_the_file(study):
    [near] = {json.dumps(terms(r)) for r in runs(study) if r.id.endswith("/near")}
    sha256 = load_methods(["mine/near.py"])["near"].code_sha256
    assert json.loads(near) == {"near": {"revision": 1, "code_sha256": sha256, "weight": 2.0}}
    [nearer, *_] = [r for r in runs(study) if r.id.endswith("/nearer")]
    assert terms(nearer)["near"]["share"] == 0.9
    [term] = nearer.spec.loss_terms()
    assert name_of(term) == "near" and type(term).__name__ == "Near"
    flat = next(run for run in runs(study) if run.id.split("/")[2] == "flat" and not run.teacher)
    assert name_of(flat.spec.loss_terms()[0]) == "flat" and flat.spec.pass_key
    assert RunSpec.from_json(nearer.spec.to_json()) == nearer.spec


def test_shipped_methods_have_no_hash(study):
    assert all(terms(r) == {"kd": {"revision": 1}} for r in runs(study) if r.id.endswith("/kd"))


def test_another_content_is_another_run_and_another_place_is_not(study, folder):
    before = {run.id: run.short_sha256 for run in runs(study)}
    (folder / "elsewhere").mkdir()
    for name in ("near", "flat"):
        (folder / f"mine/{name}.py").rename(folder / f"elsewhere/{name}.py")
    study["methods"] = ["elsewhere/near.py", "elsewhere/flat.py"]
    assert {run.id: run.short_sha256 for run in runs(study)} == before
    (folder / "elsewhere/near.py").write_text(NEAR + "\n# changed\n")
    changed = {i for i, sha256 in {r.id: r.short_sha256 for r in runs(study)}.items()
               if sha256 != before[i]}  # fmt: skip
    assert changed == {run.id for run in runs(study) if run.id.endswith(("/near", "/nearer"))}


def test_a_preparation_names_the_file_s_content_and_leaves_its_weights_out(study):
    [run, *_] = [r for r in runs(study) if r.id.endswith("/nearer")]
    spec = PreparationSpec(run.spec).to_json()["terms"]["near"]
    assert spec == {key: value for key, value in terms(run)["near"].items() if key != "weight"}


def test_a_job_refuses_another_content_than_the_plan_s(study, folder, monkeypatch):
    [run, *_] = [r for r in runs(study) if r.id.endswith("/near")]
    run.spec.parts()
    monkeypatch.setattr(registry, "_files", {})
    with pytest.raises(UserError, match="which is not loaded: list the file under `methods`"):
        run.spec.parts()
    (folder / "mine/near.py").write_text(NEAR + "\n# changed\n")
    load_methods(["mine/near.py"])
    with pytest.raises(UserError, match=r"mine/near\.py now has sha256 .*: restore the file, or"):
        run.spec.parts()


def test_an_unknown_method_is_refused_with_the_files_names_too(study):
    study["distillers"]["nera"] = {}
    with pytest.raises(UserError, match=r"unknown distiller 'nera'; known: .*near.*did you mean"):
        read(study)
    del study["distillers"]["nera"]
    study["teachers"]["near"] = {"near": {}}
    with pytest.raises(UserError, match="unknown regularizer 'near'"):
        read(study)


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("kd", HEAD + ONE.format("KD"), "soteacher already has a distiller with this name"),
        ("lipschitz", FLAT, "soteacher already has a regularizer with this name; rename the file"),
        ("broken", "x = (\n", "broken.py, line 1: '(' was never closed; correct the file"),
        ("failing", "import no_such_module", "cannot be imported: ModuleNotFoundError: No module"),
        ("leaving", "raise SystemExit(3)", "cannot be imported: SystemExit: 3; correct the file"),
        ("empty", "", "empty.py registers nothing; expected one class under @register"),
        ("two", HEAD + ONE.format("A") + ONE.format("B"), "two.py registers more than one class"),
        ("other", HEAD + "@register\nclass Other:\n    pass", "other.py registers Other; expected"),
        ("called", HEAD + "@register\ndef near():\n    pass", "called.py registers near; expected"),
        ("table5", FLAT, "'table5' is a key of teacher methods in study files; rename the file"),
        (
            "taken",
            HEAD + ONE.format("Taken") + "    revision: int = 9\n",
            "taken.py: Taken has a setting named 'revision', which is reserved; rename the setting",
        ),
        ("Upper", NEAR, "expected a file named like my_method.py"),
    ],
)
def test_what_cannot_be_used_is_one_line_with_the_path_and_the_remedy(folder, name, code, said):
    (folder / f"{name}.py").write_text(code)
    message = refused(f"{name}.py")
    assert said in message and f"{name}.py" in message
    assert not [module for module in sys.modules if module.endswith(f".{name}")
                and module.startswith("soteacher_method_")]  # fmt: skip


def test_a_missing_file_and_two_of_one_name_are_refused(folder):
    assert "cannot read mine/far.py: No such file or directory; expected" in refused("mine/far.py")
    (folder / "near.py").write_text(NEAR)
    assert "both named 'near'; rename one of them" in refused("mine/near.py", "near.py")
    (folder / "near.txt").write_text(NEAR)
    assert "expected a file named like" in refused("near.txt")


def test_a_study_s_mistake_names_the_key(study):
    study["methods"] = ["mine/far.py"]
    with pytest.raises(UserError, match=r"^study\.methods: cannot read mine/far\.py"):
        read(study)


def test_reading_a_study_with_a_file_imports_no_torch(study, folder):
    (folder / "study.yaml").write_text(json.dumps(study))
    code = "import sys; from soteacher.cli import main; main(['plan', 'study.yaml'])\n"
    code += "assert 'torch' not in sys.modules"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)


def test_a_subclass_of_a_method_of_the_paper_is_not_the_paper_s(study, folder):
    code = "from soteacher.distillers.at import AT\nfrom soteacher.methods import register\n"
    (folder / "attentive.py").write_text(code + "@register\nclass Attentive(AT):\n    pass\n")
    study["methods"] = ["attentive.py"]
    study["teachers"].pop("flat")
    study["distillers"] = {"attentive": {}}
    study["tables"]["first"] |= {"teachers": ["standard"], "distillers": ["attentive"]}
    [run, *_] = [r for r in runs(study) if r.teacher]
    said = deviations(run.spec, "attentive", "standard")
    assert "distiller attentive (not in the paper)" in said
    assert not any(text.startswith("attentive") for text in said)


def test_the_command_methods_lists_those_of_a_study_s_files(study, folder, capsys):
    (folder / "study.yaml").write_text(json.dumps(study))
    main(["methods", "study.yaml"])
    printed = capsys.readouterr().out
    said = r"  near +Mean squared error of means of pooled features\. \[mine/near\.py\]"
    assert re.search(said, printed)
    assert "flat" in printed.partition("Distillers")[0]
    main(["methods"])
    assert "mine/near.py" not in capsys.readouterr().out


# installed packages


@pytest.fixture
def install(folder, monkeypatch):
    """A function that puts a package with entry points on the path: as pip would install it."""
    monkeypatch.syspath_prepend(str(folder))

    def add(entries, distribution="their_package", **modules):
        package = folder / distribution
        package.mkdir()
        (package / "__init__.py").write_text("")
        for name, code in modules.items():
            (package / f"{name}.py").write_text(code)
        info = folder / f"{distribution}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {distribution}\nVersion: 1.2\n")
        lines = [f"{name} = {module}" for name, module in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[soteacher.methods]", *lines]))
        registry.clear()

    yield add
    monkeypatch.undo()
    registry.clear()
    for module in [name for name in sys.modules if name.partition(".")[0].startswith("their_")]:
        registry.take(module)
        del sys.modules[module]


def test_an_installed_package_s_methods_are_named_by_their_entry_points(install, wide, capsys):
    entries = {"closer": "their_package.first", "flat": "their_package.flat"}
    install(entries, first=NEAR.replace("class Near", "class Closer"), flat=FLAT)
    assert "closer" in registry.names("distiller") and "closer" not in registry.shipped("distiller")
    assert registry.names("regularizer").count("flat") == 1
    wide["distillers"] = {"closer": {}}
    wide["teachers"]["flat"] = {"flat": {}}
    table = {"kind": "accuracy", "teachers": ["flat"], "distillers": ["closer"]}
    wide["tables"] = {"first": table}
    [run, *_] = [run for run in runs(wide) if run.teacher]
    assert terms(run) == {"closer": {"revision": 1, "weight": 2.0}}
    [term] = run.spec.loss_terms()
    assert name_of(term) == "closer"
    assert registry.outside(type(term)).source == "their_package 1.2"
    main(["methods"])
    assert "[their_package 1.2]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("kd", NEAR, "soteacher already has a distiller with this name"),
        ("near", "import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("near", "", "expected their_package.module to register one subclass"),
        ("near", NEAR + ONE.format("B").replace("(D", "(FeatureD"), "registers two parts"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_one_line_for_those_who_name_it(
    install, capsys, name, code, said
):
    install({name: "their_package.module"}, module=code)
    with pytest.raises(UserError) as error:
        registry.get("distiller", name)
    message = str(error.value)
    assert said in message and "their_package 1.2" in message and "\n" not in message
    assert "correct the package or uninstall it" in message
    assert registry.get("distiller", "at").__name__ == "AT"
    main(["methods"])
    assert f"Not listed: the method '{name}'" in capsys.readouterr().out


def test_two_packages_with_one_name_and_a_file_with_a_package_s_are_refused(install, folder):
    install({"near": "their_package.near"}, near=NEAR)
    assert "an installed package has a method with this name; rename" in refused("mine/near.py")
    install({"near": "their_other.near"}, "their_other", near=NEAR)
    with pytest.raises(UserError, match="another installed package has a method with this name"):
        registry.get("distiller", "near")


def test_a_term_of_a_package_is_told_by_its_revision(install):
    install({"near": "their_package.near"}, near=NEAR)
    spec = TermSpec.of(registry.get("distiller", "near")(weight=3))
    assert spec == TermSpec(1, {"weight": 3.0})
    assert replace(spec, code_sha256="0").to_json() != spec.to_json()


# one import for authors


def test_all_that_authors_import_is_in_one_module_that_brings_no_torch():
    code = "import sys, soteacher.methods as m\n"
    code += "assert all(getattr(m, name) is not None for name in m.__all__)\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
