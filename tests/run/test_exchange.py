"""Networks leave the store and come back: the same bits, whoever named the tensors."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import soteacher
from soteacher.core.errors import Damaged, UserError
from soteacher.exchange.export import export
from soteacher.exchange.imported import import_teacher
from soteacher.models import catalogue
from soteacher.models.state_dicts import fitted, read_state_dict
from soteacher.training.evaluate import Evaluator


def repdistiller(key):
    """The name that RepDistiller's Wide ResNet has for a tensor of ours."""
    names = {"conv.weight": "conv1.weight"}
    key = names.get(key, re.sub(r"^bn\.", "bn1.", key))
    key = re.sub(r"^stages\.(\d)\.(\d+)\.", lambda m: f"block{int(m[1]) + 1}.layer.{m[2]}.", key)
    return key.replace(".shortcut.", ".convShortcut.")


@pytest.fixture
def trained(lab):
    """A teacher in the store, and its folder."""
    [teacher], _ = lab.plan()
    lab.run([teacher])
    shutil.copytree(lab.data.folder, lab.store / "data" / lab.data.folder.name)
    return teacher, lab.folder(teacher).path


def test_a_run_is_loaded_in_eval_mode_with_its_record(lab, trained):
    teacher, folder = trained
    link = lab.store.parent / "teachers"
    link.symlink_to(folder)
    for path in (folder, str(link)):
        network, record = soteacher.load(path)
        assert not network.training
        assert record["id"] == teacher.id and record["status"] == "done"
        logits = Evaluator(lab.data, "cpu").logits(network, "test")
        assert np.array_equal(logits, np.load(folder / "test_logits.npy"))


def test_an_exported_network_that_is_imported_again_gives_equal_bits(lab, trained, tmp_path):
    teacher, folder = trained
    card = export(folder, tmp_path / "out")
    stored = load_file(folder / "weights.safetensors")
    for file in ("model.safetensors", "pytorch_model.bin"):
        found = read_state_dict(tmp_path / "out" / file)
        assert found.keys() == stored.keys()
        assert all(torch.equal(found[key], stored[key]) for key in stored)
        again = import_teacher(
            tmp_path / "out" / file, "wrn_10_2", lab.data, tmp_path / f"from {file}"
        )
        assert again["imported"]["renamed"] == {}
        assert again["test_top1"] == card["test_top1"] == lab.record(teacher)["last_test_top1"]
        network, _ = soteacher.load(tmp_path / f"from {file}")
        logits = Evaluator(lab.data, "cpu").logits(network, "test")
        assert np.array_equal(logits, np.load(folder / "test_logits.npy"))
    network, record = soteacher.load(tmp_path / "out")
    assert not network.training and record == json.loads((tmp_path / "out/config.json").read_text())
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "# wrn_10_2 on few_digits" in text and f"{card['test_top1']:.2%} of 50 images" in text


def test_the_key_layout_of_repdistiller_is_imported(lab, trained, tmp_path):
    _, folder = trained
    network, _ = soteacher.load(folder)
    state = {repdistiller(key): value for key, value in network.state_dict().items()}
    assert "block1.layer.0.convShortcut.weight" in state and "bn1.running_var" in state
    old = {key: value for key, value in state.items() if "num_batches" not in key}
    for name, content in (
        ("whole", {"epoch": 240, "model": state, "accuracy": 0.9}),
        ("old", {"model": old}),
        ("parallel", {f"module.{key}": value for key, value in state.items()}),
    ):
        torch.save(content, tmp_path / f"{name}.pth")
        card = import_teacher(tmp_path / f"{name}.pth", "wrn_10_2", lab.data, tmp_path / name)
        assert card["imported"]["renamed"]["conv.weight"].endswith("conv1.weight")
        found, _ = soteacher.load(tmp_path / name)
        logits = Evaluator(lab.data, "cpu").logits(found, "test")
        assert np.array_equal(logits, np.load(folder / "test_logits.npy"))


@pytest.mark.parametrize("name", ["wrn_16_2", "resnet8x4", "resnet18", "shufflenet_v2"])
def test_every_family_is_matched_by_order(name):
    network = catalogue.build(name, 7)
    given = {
        f"x{i}.{key.rpartition('.')[2]}": v
        for i, (key, v) in enumerate(network.state_dict().items())
    }
    found, theirs = fitted(given, network, name)
    assert len(theirs) == sum("num_batches" not in key for key in network.state_dict())
    for key, value in network.state_dict().items():
        assert "num_batches" in key or torch.equal(found[key], value)


def test_what_does_not_fit_is_named():
    given = catalogue.build("wrn_10_2", 10).state_dict()
    with pytest.raises(
        UserError,
        match=r"does not fit wrn: .* 2 of the network lack a tensor "
        r"\(fc.weight \(7, 128\), fc.bias \(7,\)\) and 2 fit nothing ",
    ):
        fitted(given, catalogue.build("wrn_10_2", 7), "wrn")
    with pytest.raises(UserError, match=r"of 39 tensors .* and 40 of the file, 11 of the network"):
        fitted(given, catalogue.build("wrn_10_1", 10), "wrn")
    without = {key: value for key, value in given.items() if key != "stages.0.0.conv2.weight"}
    with pytest.raises(UserError, match=r"1 of the network lack a tensor \(stages.0.0.conv2"):
        fitted(without, catalogue.build("wrn_10_2", 10), "wrn")
    more = given | {"extra.weight": torch.zeros(2)}
    with pytest.raises(UserError, match=r"1 fit nothing \(extra.weight \(2,\)\)"):
        fitted(more, catalogue.build("wrn_10_2", 10), "wrn")


class Code:
    """An object that weights alone do not need."""


def test_files_that_are_no_state_dicts_are_refused(tmp_path):
    torch.save({"model": Code()}, tmp_path / "code.pth")
    torch.save({"epoch": 3, "a": torch.zeros(1)}, tmp_path / "mixed.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("weights")
    (tmp_path / "text.safetensors").write_text("weights")
    for name, message in (
        ("code.pth", "as weights alone"),
        ("mixed.pth", "holds no state dict"),
        ("list.pth", "holds no state dict"),
        ("text.pth", "as weights alone"),
        ("text.safetensors", "as weights alone"),
        ("none.pth", "there is no file"),
    ):
        with pytest.raises(UserError, match=message) as error:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(error.value)


def test_folders_without_a_trained_network_are_refused(lab, trained, tmp_path):
    _, folder = trained
    with pytest.raises(UserError, match="is not the folder of a run; expected one of results"):
        soteacher.load(tmp_path)
    with pytest.raises(UserError, match="is not an empty folder; choose a new one"):
        export(folder, folder)
    export(folder, tmp_path / "out")
    write_again = "; write the folder again with `soteacher export` or `soteacher import-teacher`"
    save_file({"a": torch.zeros(1)}, tmp_path / "out/model.safetensors")
    with pytest.raises(Damaged, match="the file of weights has changed since ") as error:
        soteacher.load(tmp_path / "out")
    assert str(error.value).endswith(f"...{write_again}")
    (tmp_path / "out/model.safetensors").unlink()
    with pytest.raises(Damaged, match="the file of weights is missing: ") as error:
        soteacher.load(tmp_path / "out")
    assert str(error.value).endswith(f"model.safetensors{write_again}")
    (tmp_path / "out/config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(Damaged, match="of an earlier version of soteacher; ") as error:
        soteacher.load(tmp_path / "out")
    assert str(error.value).endswith(f"of soteacher{write_again}")
    (folder / "run.json").unlink()
    with pytest.raises(UserError, match="is not finished; expected a run that is done"):
        soteacher.load(folder)


def test_the_commands(desk, caplog):
    plan = desk.study()
    teacher = next(run for run in plan.runs.values() if not run.teacher)
    desk.lab.run([teacher])
    said = desk.say("export", str(desk.lab.folder(teacher).path), "out")
    assert re.fullmatch(r"out: wrn_10_2, 10 classes, test accuracy \d+\.\d\d%\n", said)
    given = ("import-teacher", "out/pytorch_model.bin", "--data", "few", "small.yaml")
    said = desk.say(*given, "--network", "wrn_10_2", "--out", "again")
    assert "all names equal; test accuracy" in said and "50 images of few" in said
    refused = desk.refused(*given, "--network", "wrn_10_1", "--out", "b", caplog=caplog)
    assert "does not fit wrn_10_1 with 10 classes" in refused
    given = ("import-teacher", "out/pytorch_model.bin", "--data", "fev", "small.yaml")
    refused = desk.refused(*given, "--network", "wrn_10_2", "--out", "b", caplog=caplog)
    assert "unknown data set 'fev'" in refused


def test_the_commands_of_the_document(desk, lab):
    """They are for the demo; here they are given for the small study."""
    document = (Path(__file__).parents[2] / "docs/exchange.md").read_text(encoding="utf-8")
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", document, re.S)
        for line in block.splitlines()
    ]
    lines = [line for line in lines if line.startswith("soteacher ")]  # not of Snakemake
    assert len(lines) == 3
    plan = desk.study(distillers={"kd": {}, "fitnet": {}})
    teacher = next(run for run in plan.runs.values() if not run.teacher)
    lab.run([teacher])
    run = "results/demo/teachers/digits/wrn_10_2/standard/seed10"
    here = {"digits": "few", "config/demo.yaml": "small.yaml"}
    here |= {run: str(lab.folder(teacher).path)}
    [piece] = re.findall(r"```yaml\n(.*?)```", document, re.S)
    (desk.path / "mine.yaml").write_text(piece, encoding="utf-8")
    for line in lines:
        command, *words = shlex.split(line)
        assert command == "soteacher"
        said = desk.say(*(here.get(word, word) for word in words))
        assert ("the runs that mine_table needs" if "plan" in words else "test accuracy") in said
    assert f'soteacher.load("{run}")' in document
    network, record = soteacher.load("imported")
    assert record["network"] == "wrn_10_2" and not network.training
