"""A study on class folders of one's own, run as a user runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def make_images(folder: Path, seed: int) -> None:
    """Two classes that differ in brightness, in images of several sizes."""
    random = np.random.default_rng(seed)
    for split, n in (("train", 24), ("test", 10)):
        for name, bright in (("dark", 0), ("light", 120)):
            (folder / split / name).mkdir(parents=True)
            for k in range(n):
                height, width = random.integers(8, 20, 2)
                pixels = random.integers(bright, bright + 120, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{k:02}.png")


@pytest.fixture
def own(empty):
    """A tiny study of two data sets, both class folders with equal settings."""
    study = empty.study
    study["data"] = {}
    study["pairs"] = {}
    for seed, name in enumerate(("mine", "yours")):
        make_images(empty.path / "images" / name, seed)
        study["data"][name] = {"source": "image_folder", "path": f"images/{name}", "size": 8}
        study["pairs"][name] = {
            "data": name,
            "teacher": "wrn_10_1",
            "student": "wrn_10_1",
            "teacher_recipe": "short",
            "student_recipe": "short",
        }
        study["tables"][name] = {
            "kind": "accuracy",
            "pairs": [name],
            "teachers": ["standard"],
            "distillers": ["kd"],
        }
    del study["tables"]["table1"], study["teachers"]["soteacher"]
    empty.write(study)
    return empty


def new_runs(place, before: set[str]) -> set[str]:
    return {run.split()[0] for run in place.trained() - before}


MINE = {"mine/wrn_10_1/standard/seed0", "mine/wrn_10_1/standard/seed0/wrn_10_1/kd"}


def test_one_s_own_images_are_trained_on_moved_and_changed(own):
    own.snakemake()
    before = own.trained()
    assert len(before) == 4
    assert new_runs(own, set()) >= MINE
    assert len(list(own.path.glob("results/store/data/*"))) == 2
    table = (own.path / "results/tiny/tables/mine.md").read_text()
    assert "Standard" in table and "none" not in table
    assert "Nothing to be done" in own.snakemake().stderr

    # moved: published again, not trained
    manifest = own.path / "results/tiny/data/mine.json"
    known = manifest.read_bytes()
    (own.path / "images/mine").rename(own.path / "elsewhere")
    study = own.study
    study["data"]["mine"]["path"] = "elsewhere"
    own.write(study)
    assert "prepared mine in" in own.snakemake("mine").stderr
    assert manifest.read_bytes() == known
    assert own.trained() == before
    assert own.attempts() == [1, 1, 1, 1]

    # changed: noticed when `prepare` runs
    image = own.path / "elsewhere/train/dark/00.png"
    Image.fromarray(np.full((8, 8, 3), 77, np.uint8)).save(image)
    own.snakemake("mine", "--forcerun", "prepare")
    assert new_runs(own, before) == MINE
    assert own.attempts() == [1] * 6
    assert "Nothing to be done" in own.snakemake("mine").stderr


def test_after_a_preparation_that_failed_no_stale_table_is_left(own):
    study = own.study
    study["tables"]["mine"]["columns"] = ["teacher.top1"]
    own.write(study)
    own.snakemake("mine")
    before = own.trained()
    image = own.path / "images/mine/train/dark/00.png"
    image.write_bytes(b"half")
    done = own.snakemake("mine", "--forcerun", "prepare", code=1)
    assert "cannot read the image images/mine/train/dark/00.png" in done.stderr
    Image.fromarray(np.full((8, 8, 3), 77, np.uint8)).save(image)
    own.snakemake("mine")
    assert new_runs(own, before) == {"mine/wrn_10_1/standard/seed0"}
    assert "Nothing to be done" in own.snakemake("mine").stderr
