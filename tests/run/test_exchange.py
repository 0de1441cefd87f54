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
from small_study import STUDY

import soteacher
from soteacher.core.errors import Damaged, UserError
from soteacher.core.sealed import write_sealed
from soteacher.exchange.export import export
from soteacher.exchange.imported import import_teacher
from soteacher.models import catalogue, outside
from soteacher.models.state_dicts import fitted, network_of, read_state_dict
from soteacher.study.network_files import load_networks
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
    texts = {
        "": "as weights alone: it is damaged, or",
        "weights": "as weights alone: it is damaged, or",
        "hello world\n": "as weights alone: it is damaged, or",
        "a\n": "as weights alone: it is damaged, or",
        "\n<!DOCTYPE html><html></html>": "begins with '<', such as a web page; download the file",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n": "fetch .* `git lfs pull`",
    }
    messages = {
        "code.pth": "as weights alone: it is damaged, or it holds other things than tensors",
        "mixed.pth": "holds no state dict",
        "list.pth": "holds no state dict",
        "none.pth": "there is no file",
    }
    for number, (text, message) in enumerate(texts.items()):
        for suffix in ("pth", "safetensors"):
            (tmp_path / f"{number}.{suffix}").write_text(text, encoding="utf-8")
            messages[f"{number}.{suffix}"] = message
    for name, message in messages.items():
        with pytest.raises(UserError, match=message) as error:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(error.value) and "weights_only" not in str(error.value)


@pytest.mark.filterwarnings("ignore")  # torch warns of some damages before it raises an error
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, zipped):
    state = {"a.weight": torch.arange(4.0), "b.bias": torch.ones(2, 3)}
    path = tmp_path / "damaged.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for number in range(300):
        content = bytearray(whole)
        if number % 3:
            content[random.integers(len(content))] = random.integers(256)
        else:
            del content[random.integers(len(content)) :]
        path.write_bytes(content)
        try:
            read_state_dict(path)
        except UserError as error:
            assert str(path) in str(error) and "weights_only" not in str(error)
            refused += 1
        except MemoryError:  # a damaged length
            pass
    assert refused > 100  # each file that lacks its end


UNUSABLE = {
    "meta": ("fc.weight", lambda value: value.to("meta"), "is without values here"),
    "sparse": ("fc.weight", lambda value: value.to_sparse(), "is sparse or nested"),
    "qint8": (
        "fc.weight",
        lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
        "is quantized",
    ),
    "float8": ("fc.weight", lambda value: value.to(torch.float8_e4m3fn), "is float8_e4m3fn of"),
    "complex": ("fc.weight", lambda value: value.to(torch.complex64), "is complex64 of shape"),
    "int8": ("fc.weight", lambda value: value.to(torch.int8), "is int8 of shape"),
    "bool": ("fc.weight", lambda value: value > 0, "is bool of shape"),
    "three": (
        "bn.num_batches_tracked",
        lambda value: value.repeat(3),
        r"is int64 of shape \(3,\); expected real numbers of shape \(\)",
    ),
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("by_order", [False, True])
def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path, kind, by_order):
    key, changed, message = UNUSABLE[kind]
    state = catalogue.build("wrn_10_1", 10).state_dict()
    state |= {key: changed(state[key])}
    if by_order and kind != "three":  # counts are not matched by order
        key, state = f"x.{key}", {f"x.{repdistiller(name)}": v for name, v in state.items()}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UserError, match=f"the tensor {key} of the state dict {message}") as error:
        network_of(tmp_path / "a.pth", "wrn_10_1", 10, (32, 32))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_converted(tmp_path, dtype):
    state = catalogue.build("wrn_10_1", 10).state_dict()
    torch.save({key: value.to(dtype) for key, value in state.items()}, tmp_path / "a.pth")
    network, renamed, by_order = network_of(tmp_path / "a.pth", "wrn_10_1", 10, (32, 32))
    assert (renamed, by_order) == ({}, False)
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key].to(dtype).to(value.dtype))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    ("name", "ours", "prefix"),
    [
        ("wrn_10_1", "", "module."),
        ("wrn_10_1", "", "_orig_mod."),
        ("wrn_10_1", "", "model."),
        ("wrn_10_1", "", "module._orig_mod."),
        ("torchvision/resnet18", "network.", ""),
        ("torchvision/resnet18", "network.", "module."),
    ],
)
def test_one_prefix_of_all_names_is_left_out(tmp_path, name, ours, prefix, suffix):
    """The order of the names says nothing then: here they are sorted."""
    if ours:
        pytest.importorskip("torchvision")
    state = catalogue.build(name, 10).state_dict()
    given = {f"{prefix}{key.removeprefix(ours)}": state[key] for key in sorted(state)}
    path = tmp_path / f"a.{suffix}"
    (torch.save if suffix == "pth" else save_file)(given, path)
    network, renamed, by_order = network_of(path, name, 10, (32, 32))
    assert not by_order
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key])
        if "num_batches" not in key:
            assert renamed[key] == f"{prefix}{key.removeprefix(ours)}"


def test_a_prefix_of_some_names_makes_them_other_names(tmp_path):
    given = {f"module.{k}": v for k, v in catalogue.build("wrn_10_1", 10).state_dict().items()}
    given["fc.bias"] = given.pop("module.fc.bias")
    save_file(given, tmp_path / "some.safetensors")
    with pytest.raises(UserError, match="has other names of tensors than"):
        network_of(tmp_path / "some.safetensors", "wrn_10_1", 10, (32, 32))


def not_finite():
    """Names to state dicts of WRN10-2 whose weights or logits are not finite, and the message."""
    state = catalogue.build("wrn_10_2", 10).state_dict()
    last = "bn.running_var"
    return {
        "nan.pth": (state | {"fc.bias": torch.full((10,), torch.nan)}, "first in fc.bias"),
        "double.pth": (
            state | {"fc.bias": torch.full((10,), 1e300, dtype=torch.float64)},
            "not finite in float32, the first in fc.bias",
        ),
        "variance.pth": (
            state | {last: -torch.ones_like(state[last])},
            "has logits that are not finite for 50 of 50 test images",
        ),
        "large.pth": (
            state | {"fc.weight": torch.full_like(state["fc.weight"], 3e38)},
            "has logits that are not finite",
        ),
    }


def test_networks_that_are_not_finite_are_refused(lab, tmp_path):
    for name, (state, message) in not_finite().items():
        torch.save(state, tmp_path / name)
        with pytest.raises(UserError, match=message) as error:
            import_teacher(tmp_path / name, "wrn_10_2", lab.data, tmp_path / "out")
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


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


NETWORK = """
from torch import nn
from soteacher.models.output import Output

class Plain(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, n_classes)

    def forward(self, images):
        stage1 = self.conv(images).relu()
        pooled = stage1.mean(dim=(2, 3))
        return Output(self.fc(pooled), {"stage1": stage1, "pooled": pooled})

def build(n_classes, height, width):
    return Plain(n_classes)
"""


def reseal(folder, **changes):
    """Change entries of config.json as if they had been written so; None removes one."""
    card = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
    write_sealed(folder / "config.json", {k: v for k, v in card.items() if v is not None})


def test_the_network_of_a_folder_must_be_the_one_that_was_written(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(outside, "_files", {})
    file, folder = tmp_path / "plain_net.py", tmp_path / "out"
    file.write_text(NETWORK, encoding="utf-8")
    load_networks([file])
    torch.save(catalogue.build("plain_net", 10).state_dict(), tmp_path / "a.pth")
    import_teacher(tmp_path / "a.pth", "plain_net", lab.data, folder)
    assert soteacher.load(folder, networks=[file]).record["network"] == "plain_net"

    file.write_text(NETWORK.replace("relu", "tanh"), encoding="utf-8")
    with pytest.raises(
        UserError,
        match=r"was written with the network 'plain_net' of a file with sha256 \w{16}..., but now "
        r"it is of a file with sha256 \w{16}...; expected the same code: give the file",
    ):
        soteacher.load(folder, networks=[file])
    reseal(folder, network_spec=None)  # as earlier versions wrote it
    assert soteacher.load(folder).record["network"] == "plain_net"
    file.write_text(NETWORK.replace("conv", "convolution"), encoding="utf-8")
    with pytest.raises(UserError, match=r"does not fit the network plain_net: .*; use the code"):
        soteacher.load(folder, networks=[file])
    outside._files.clear()
    with pytest.raises(UserError, match=r"'plain_net', which .* by networks=\['plain_net.py'\]"):
        soteacher.load(folder)


def test_another_version_of_a_network_is_refused(lab, trained, tmp_path):
    _, run = trained
    export(run, tmp_path / "out")
    ours = {"name": "wrn_10_2", "revision": 1}
    assert json.loads((tmp_path / "out/config.json").read_text())["network_spec"] == ours
    for spec, message in (
        (
            ours | {"revision": 0},
            r"of soteacher, revision 0, but .* revision 1; .*: install soteac",
        ),
        (ours | {"package": "nets 1.0"}, "of nets 1.0, but now .*: install nets 1.0"),
    ):
        reseal(tmp_path / "out", network_spec=spec)
        with pytest.raises(UserError, match=message) as error:
            soteacher.load(tmp_path / "out")
        assert "\n" not in str(error.value)
    reseal(tmp_path / "out", network_spec={"name": "wrn_10_2"})
    with pytest.raises(Damaged, match=r"its entry 'network_spec.revision' is missing"):
        soteacher.load(tmp_path / "out")


def test_import_teacher_says_how_tensors_were_matched_and_finds_label_counts(desk, tmp_path):
    random, places = np.random.default_rng(0), {}
    for split, n in (("train", 8), ("test", 4)):
        places[f"{split}_images"] = random.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
        places[f"{split}_labels"] = np.arange(n) % 2
    np.savez(tmp_path / "images.npz", **places)
    np.savez(
        tmp_path / "counts.npz",
        train_truth=np.full((8, 2), 3),
        test_truth=np.full((4, 2), [1, 2]),
    )
    data = {
        "counted": {
            "source": "arrays",
            "path": str(tmp_path / "images.npz"),
            "true_labels": {"counts": str(tmp_path / "counts.npz")},
        }
    }
    pair = STUDY["pairs"]["wrn_10_2/wrn_10_1"] | {"data": "counted"}
    desk.study("counted", prepared=False, data=data, pairs={"wrn_10_2/wrn_10_1": pair})
    state = catalogue.build("wrn_10_1", 2).state_dict()
    for name, change, said in (
        ("same", str, "all names equal"),
        ("module", "module.{}".format, "39 tensors matched by name, with another prefix"),
        ("other", repdistiller, "tensors matched by order and shape"),
    ):
        torch.save({change(key): value for key, value in state.items()}, tmp_path / f"{name}.pth")
        given = (f"{name}.pth", "--network", "wrn_10_1", "--data", "counted", "--out", name)
        printed = desk.say("import-teacher", *given, "counted.yaml")
        assert said in printed and "of 4 images of counted" in printed


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
