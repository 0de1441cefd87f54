"""docs/add-a-network.md, followed step by step: its files are written and its commands run."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from documented_methods import ANNOUNCED, BLOCK  # noqa: E402

DOCUMENT = (ROOT / "docs/add-a-network.md").read_text(encoding="utf-8")
SMALL = {
    "recipes": {"demo": {"epochs": 1, "batch": 512, "decay_at": [], "keep_every": 0}},
    "runs_per_job": 2,
}
"""Lies over the demo so that it takes seconds."""


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """The folder in which all was done, and what each command printed."""
    folder, said = tmp_path_factory.mktemp("network"), {}
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for block in BLOCK.finditer(DOCUMENT):
        language, text = block.groups()
        announced = ANNOUNCED.search(DOCUMENT[: block.start()])
        if announced:
            path = folder / announced[2]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for line in text.splitlines() if language == "sh" else ():
            program, *words = shlex.split(line.replace("networks.yaml", "networks.yaml small.yaml"))
            if program == "snakemake":
                words = ["1" if word == "all" else word for word in words]
                words += ["--snakefile", str(ROOT / "Snakefile")]
            command = [sys.executable, "-m", program, *words]
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said[words[0]] = done.stdout
    return folder, said


def test_the_document_s_study_is_listed_planned_and_trained(followed):
    folder, said = followed
    assert "[my_networks/plain_cnn.py]" in said["methods"]
    assert f"Network file: {folder}/my_networks/plain_cnn.py" in said["plan"]
    records = [json.loads(p.read_text()) for p in folder.glob("results/store/runs/*/run.json")]
    networks = {record["id"]: record["spec"]["network"] for record in records}
    assert len(networks) == 8
    mobile = networks["digits/torchvision.mobilenet_v2/standard/seed10"]
    assert mobile["name"] == "torchvision/mobilenet_v2"
    assert mobile["package"].startswith("torchvision 0.")
    plain = networks["digits/torchvision.mobilenet_v2/standard/seed10/plain_cnn/kd"]
    assert plain["name"] == "plain_cnn" and len(plain["code_sha256"]) == 64
    table = (folder / "results/networks/tables/others.md").read_text(encoding="utf-8")
    assert "network torchvision/mobilenet_v2 (not in the paper)" in table


def test_a_trained_network_is_loaded_and_exported_with_its_file(followed):
    folder, _ = followed
    code = """
import sys, numpy as np, torch, soteacher
from pathlib import Path
for run, files in ((sys.argv[1], ["my_networks/plain_cnn.py"]), (sys.argv[2], [])):
    network, record = soteacher.load(run, networks=files)
    assert not network.training and record["image_size"] == [8, 8]
    stored = np.load(Path(run) / "test_logits.npy")
    exported = soteacher.load(f"out/{Path(run).parts[-3]}").network
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(network(images).logits, exported(images).logits)
    assert network(images).logits.shape[1] == stored.shape[1]
"""
    runs = [f"results/networks/teachers/digits/{n}/standard/seed10"
            for n in ("plain_cnn", "torchvision.mobilenet_v2")]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for run in runs:
        export = ["export", run, f"out/{Path(run).parts[-3]}", "--networks"]
        export += ["my_networks/plain_cnn.py"]
        subprocess.run(
            [sys.executable, "-m", "soteacher", *export], cwd=folder, env=environment, check=True
        )
    subprocess.run([sys.executable, "-c", code, *runs], cwd=folder, env=environment, check=True)


def test_after_a_change_of_the_file_its_job_refuses_and_the_plan_trains_again(followed):
    folder, _ = followed
    path = folder / "my_networks/plain_cnn.py"
    before = path.read_text(encoding="utf-8")
    run = "results/networks/teachers/digits/plain_cnn/standard/seed10"
    try:
        path.write_text(before + "# changed\n", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "soteacher", "export", run, "no", "--networks", str(path)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
    finally:
        path.write_text(before, encoding="utf-8")
    assert done.returncode == 2 and "now has sha256" in done.stderr
    assert len(done.stderr.splitlines()) == 1
