"""docs/own-data.md, followed step by step: its files are written and its commands run."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from documented_methods import ANNOUNCED, BLOCK  # noqa: E402

from soteacher.study.load import read  # noqa: E402

DOCUMENT = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")


def blocks():
    """Language, text and, if it is announced as a file, the path of each block."""
    for block in BLOCK.finditer(DOCUMENT):
        announced = ANNOUNCED.search(DOCUMENT[: block.start()])
        yield *block.groups(), announced and announced[2]


def followed(folder):
    """Write the files of the page, and run its commands in their order."""
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": binaries}
    printed = {}
    for language, text, path in blocks():
        if path is not None:
            (folder / path).write_text(text, encoding="utf-8")
        for line in text.splitlines() if language == "sh" else ():
            words = shlex.split(line)
            if words[0] == "soteacher":  # the installed command may be that of another clone
                words = [sys.executable, "-m", *words]
            elif words[0] == "snakemake":
                words = [sys.executable, "-m", *words, "--snakefile", str(ROOT / "Snakefile")]
            done = subprocess.run(
                words, cwd=folder, env=environment, capture_output=True, text=True, timeout=900
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            printed[line.split()[0]] = done.stdout
    return printed


def test_the_commands_of_the_page_work(tmp_path):
    pytest.importorskip("pyarrow")
    printed = followed(tmp_path)
    cells = [line for line in printed["cat"].splitlines() if line.startswith("|")]
    assert "Standard" in printed["cat"] and not any("none" in line for line in cells)
    manifests = {
        name: yaml.safe_load((tmp_path / f"results/own/data/{name}.json").read_text())
        for name in ("arrays", "known", "hub")
    }
    for name, manifest in manifests.items():
        assert manifest["arrays"]["train_images"]["shape"] == [300, 8, 8, 3]
        assert ("train_truth" in manifest["arrays"]) is (name != "arrays")
        assert "test_truth" not in manifest["arrays"]
        sizes = {"test_images": 8 if name != "hub" else 6, "train_resized": 6}
        for array, size in sizes.items():
            if array in manifest["arrays"]:
                assert manifest["arrays"][array]["shape"][1:] == [size, size, 3]
        assert ("train_resized" in manifest["arrays"]) is (name == "hub")
    [first, *others] = (manifest["arrays"]["train_images"] for manifest in manifests.values())
    assert all(one == first for one in others)  # the same images from all sources
    folder = next((tmp_path / "results/store/data").glob("parquet-*"))
    truth = np.load(folder / "train_truth.npy")
    assert sorted({*truth.round(12).ravel().tolist()}) == [0, 0.1, 0.9]


def test_the_other_settings_of_the_page_are_valid():
    texts = {path: text for _, text, path in blocks()}
    study = yaml.safe_load(texts["own.yaml"])
    others = [text for language, text, path in blocks() if language == "yaml" and path is None]
    for text in others:
        study["data"] |= yaml.safe_load(text)["data"]
    assert {"cifar100_hub", "beans"} <= {*read(study).data}
