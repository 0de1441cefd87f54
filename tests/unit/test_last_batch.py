"""A last batch that cannot be trained on is refused in the plan, by the sizes of all maps."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from soteacher import cli
from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.models import catalogue
from soteacher.study.expand import expand
from soteacher.study.last_batch import smallest_batch
from soteacher.study.load import read


def study(student="wrn_10_1", teacher="wrn_10_1", distiller="kd", batches=(16, 16), **data):
    recipes = {
        name: {"epochs": 2, "batch": batch, "lr": 0.05, "decay_at": [1]}
        for name, batch in zip(("teach", "learn"), batches, strict=True)
    }
    pair = {"data": "d", "teacher_recipe": "teach", "student_recipe": "learn"}
    return {
        "study": "s",
        "seeds": [0],
        "data": {"d": {"source": "generated", "n_test": 4, "n_classes": 3} | data},
        "recipes": recipes,
        "pairs": {f"{teacher}/{student}": pair},
        "teachers": {"standard": {}},
        "distillers": {distiller: {}},
        "tables": {"t": {"kind": "accuracy", "teachers": ["standard"], "distillers": [distiller]}},
    }


def planned(**settings):
    return expand(read(study(**settings)))


@pytest.mark.parametrize(
    ("n", "batch", "expected"), [(17, 16, 1), (16, 16, 16), (18, 16, 2), (5, 16, 5), (7, 1, 1)]
)
def test_the_smallest_batch_is_the_last_or_any(n, batch, expected):
    assert smallest_batch(n, batch) == expected


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (5, 7), (1, 9), (64, 64)])
@pytest.mark.parametrize("name", ["wrn_10_1", "wrn_16_2", "resnet8x4", "resnet18", "shufflenet_v2"])
def test_the_sizes_of_the_maps_are_those_of_the_network(name, size):
    with torch.no_grad():
        features = catalogue.build(name, 3).eval()(torch.zeros(1, 3, *size)).features
    found = catalogue.facts(name, *size, 3).maps
    assert found == {stage: tuple(features[stage].shape[2:]) for stage in found}
    assert found.keys() == {n for n in features if n.startswith("stage") and n[-1].isdigit()}


@pytest.mark.parametrize("size", [2, 4, 8, 12])
@pytest.mark.parametrize("name", ["wrn_10_1", "resnet8x4", "resnet18", "shufflenet_v2"])
def test_exactly_the_networks_that_torch_refuses_are_refused(name, size):
    network = catalogue.build(name, 3).train()
    try:
        network(torch.zeros(1, 3, size, size))
        refused = False
    except ValueError as error:
        assert "more than 1 value per channel" in str(error)
        refused = True
    here = {"teacher": name, "student": name, "n_train": 17, "size": size}
    if not refused:
        assert planned(**here).runs
        return
    expected = (
        rf"^d/{name}/standard/seed0: the 17 training images in batches of 16 leave a last batch of "
        rf"one image, and {name} reduces images of {size}x{size} pixels to a map of 1x1.*`batch`"
    )
    with pytest.raises(UserError, match=expected) as caught:
        planned(**here)
    assert "\n" not in str(caught.value)
    for sound in ({"n_train": 18}, {"batches": (15, 15)}, {"size": 16}):
        assert planned(**here | sound).runs


def test_batches_of_one_image_are_refused_too():
    with pytest.raises(UserError, match="the 6 training images in batches of 1 leave"):
        planned(n_train=6, size=4, batches=(1, 1))


def test_a_student_is_refused_for_its_own_batch():
    with pytest.raises(UserError, match=r"^d/wrn_10_1/standard/seed0/wrn_10_1/kd: the 17 training"):
        planned(n_train=17, size=4, batches=(15, 16))
    # four turned views of one image are four values
    assert planned(n_train=17, size=4, batches=(15, 16), distiller="sskd").runs


@pytest.mark.parametrize(
    ("distiller", "refused"), [("ab", True), ("fitnet", False), ("ft", False), ("at", False)]
)
def test_layers_that_adapt_to_the_teacher_s_single_pixel_are_refused(distiller, refused):
    # on 8x8, the third stage of ShuffleNetV2 has one pixel, that of WRN has four
    here = {"teacher": "shufflenet_v2", "n_train": 17, "size": 8, "batches": (15, 16)}
    if refused:
        with pytest.raises(UserError, match=f"{distiller} adapts to the maps of shufflenet_v2"):
            planned(distiller=distiller, **here)
    else:
        assert planned(distiller=distiller, **here).runs
    # on 4x4 it is the second stage, while the student's maps have four pixels there
    smaller = here | {"size": 4, "n_train": 18, "batches": (16, 17)}
    with pytest.raises(UserError, match="wrn_10_1 reduces images of 4x4 pixels"):
        planned(distiller=distiller, **smaller)


def test_the_map_that_fitnet_adapts_to_is_the_teacher_s_second():
    fitnet, ab = (registry.get("distiller", name) for name in ("fitnet", "ab"))
    student = {"stage1": (8, 8), "stage2": (4, 4), "stage3": (2, 2)}
    teacher = {"stage1": (4, 4), "stage2": (2, 2), "stage3": (1, 1), "stage4": (1, 1)}
    assert fitnet.norm_maps(student, teacher) == ((2, 2),)
    assert ab.norm_maps(student, teacher) == ((4, 4), (2, 2), (1, 1))
    assert fitnet.norm_maps({"stage1": (8, 8)}, teacher) == ((4, 4),)


def test_plan_also_reads_the_sizes_of_a_folder(tmp_path, monkeypatch, caplog):
    for split, numbers in (("train", range(3)), ("test", range(1))):
        for name in ("a", "b"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in numbers:
                pixels = np.full((4, 4, 3), number, np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    values = study(batches=(5, 5))
    values["data"] = {"d": {"source": "image_folder", "path": "images"}}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(json.dumps(values))
    assert expand(read(values)).runs  # the workflow does not count the files
    with pytest.raises(SystemExit) as caught:
        cli.main(["plan", "s.yaml"])
    assert caught.value.code == 2
    [record] = caplog.records
    assert "the 6 training images in batches of 5 leave a last batch of one" in record.getMessage()
