"""Memory: what this process can use, what a preparation takes, and what is refused beforehand."""

import json
import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soteacher.cli.arguments import plan_of
from soteacher.cli.plan import facts_of, to_text
from soteacher.core import memory
from soteacher.core.errors import UserError
from soteacher.data import true_labels as truth
from soteacher.data.memory import preparing_bytes
from soteacher.data.prepared import prepare
from soteacher.data.sources.base import Outline
from soteacher.data.sources.cifar100 import Cifar100
from soteacher.data.sources.generated import Generated
from soteacher.data.sources.image_folder import ImageFolder
from soteacher.data.spec import DataSpec
from soteacher.store.forecast import Forecast
from soteacher.study.cost import training_bytes
from soteacher.study.expand import expand
from soteacher.study.load import read

IMAGENET = Outline(1_281_167, 50_000, 224, 224, 1000)
GB = 10**9


def limited(monkeypatch, bytes_left):
    monkeypatch.setattr(memory, "available", lambda: bytes_left)


# what this process can use


def test_the_available_memory_is_at_most_that_of_the_machine():
    total = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal:")
    )
    assert 10_000_000 < memory.available() < total


def group(root, limit_name, usage_name, limit, usage, stat):
    root.mkdir(parents=True, exist_ok=True)
    (root / limit_name).write_text(f"{limit}\n")
    (root / usage_name).write_text(f"{usage}\n")
    (root / "memory.stat").write_text(stat)


def test_the_limits_of_all_control_groups_around_a_process_count(tmp_path):
    names = ("memory.max", "memory.current")
    group(tmp_path / "a", *names, 5000, 1000, "anon 10\ninactive_file 300\nactive_file 200\n")
    group(tmp_path / "a/b", *names, "max", 1000, "")
    own = tmp_path / "cgroup"
    own.write_text("0::/a/b\n")
    assert [*memory._of_groups(tmp_path, own)] == [5000 - 1000 + 500]


def test_the_limits_of_control_groups_of_version_1_count(tmp_path):
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    stat = "inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 200\n"
    group(tmp_path / "memory/a", *names, 5000, 1000, stat)
    group(tmp_path / "memory", *names, 9000, 1000, stat)
    own = tmp_path / "cgroup"
    own.write_text("5:cpu:/a\n4:memory:/a\n0::/\n")
    assert [*memory._of_groups(tmp_path, own)] == [4500, 8500]


def test_a_limit_of_the_shell_counts():
    code = "from soteacher.core import memory; print(memory.available())"
    limit = 2 * GB
    told = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert limit - GB < int(told.stdout) < limit


# preparation


PEAK = """
import json, sys
from pathlib import Path
from soteacher.data.prepared import prepare
from soteacher.data.spec import DataSpec
prepare(DataSpec.from_json(json.loads(sys.argv[1])), Path(sys.argv[2]))
# `ru_maxrss` would begin with the memory of the process that started this one
[line] = [s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM:")]
print(int(line.split()[1]) * 1024)
"""


@pytest.mark.parametrize(
    ("sizes", "n_classes", "true_labels"),
    [
        ({"size": 64}, 10, None),
        ({"size": 64, "input_size": 48}, 10, None),
        ({"size": 16}, 500, {"revision": 1, "confusion": 0.3, "split": [0.7, 0.3]}),
    ],
)
def test_a_preparation_takes_the_memory_that_is_estimated(tmp_path, sizes, n_classes, true_labels):
    settings = {"n_train": 24_000, "n_test": 6_000, "n_classes": n_classes, **sizes}
    spec = {"source": "generated", "revision": 1, **settings}
    if true_labels:
        spec["true_labels"] = true_labels
    done = subprocess.run(
        [sys.executable, "-c", PEAK, json.dumps(spec), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    read_spec = DataSpec.from_json(spec)
    source = read_spec.open_source()
    estimate = preparing_bytes(source, read_spec.true_labels, source.outline())
    assert estimate > 250_000_000
    assert 0.7 * estimate < int(done.stdout) < 1.15 * estimate


def test_the_largest_sets_of_the_paper_fit_into_a_gigabyte():
    assert preparing_bytes(Cifar100(), None, Cifar100().outline()) < GB


def test_look_alikes_need_no_memory_for_all_pairs_of_classes():
    images = np.zeros((400, 16, 16, 3), np.uint8)
    labels = np.arange(400) % 200
    tracemalloc.start()
    truth.look_alikes(images, labels, 200, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * 200 * 768 * 8 / 10


@pytest.fixture
def folder(tmp_path):
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "images" / place).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / place / "0.png")
    return tmp_path / "images"


def test_images_of_an_impossible_size_are_refused_before_anything_is_read(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(ImageFolder, "read", None)
    monkeypatch.setattr(ImageFolder, "content_key", None)
    limited(monkeypatch, 2 * GB)
    spec = DataSpec.from_json({"source": "image_folder", "revision": 1, "size": 200_000})
    with pytest.raises(UserError) as caught:
        prepare(spec, tmp_path / "store", {"path": str(folder)})
    largest = int(((2 * GB - 80_000_000) / 12) ** 0.5)
    assert str(caught.value) == (
        "preparing image_folder needs about 480.1 GB of memory for 4 images of 200000x200000 "
        f"pixels, but this process can use 2.0 GB: set `size: {largest}`, the largest that fits, "
        "or use fewer images, or a machine with more memory"
    )


def test_imagenet_is_refused_with_the_size_that_would_fit(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFolder, "outline", lambda self: IMAGENET)
    limited(monkeypatch, 24 * GB)
    with pytest.raises(UserError) as caught:
        prepare(DataSpec.from_json({"source": "image_folder", "revision": 1}), tmp_path / "store")
    assert "data.path: missing" in str(caught.value)
    with pytest.raises(UserError) as caught:
        prepare(
            DataSpec.from_json({"source": "image_folder", "revision": 1, "size": 224}),
            tmp_path / "store",
            {"path": str(folder)},
        )
    text = str(caught.value)
    assert "about 200.5 GB of memory for 1,331,167 images of 224x224 pixels" in text
    assert "set `size: 77`, the largest that fits" in text


def test_a_set_without_a_setting_for_the_size_is_refused_with_what_remains(tmp_path, monkeypatch):
    limited(monkeypatch, 1000)
    with pytest.raises(UserError) as caught:
        prepare(DataSpec.from_json({"source": "digits", "revision": 1}), tmp_path)
    assert str(caught.value).endswith("use fewer images, or a machine with more memory")


def test_what_is_prepared_already_needs_no_memory(folder, tmp_path, monkeypatch):
    spec = DataSpec.from_json({"source": "image_folder", "revision": 1})
    manifest = prepare(spec, tmp_path / "store", {"path": str(folder)})
    limited(monkeypatch, 1000)
    assert prepare(spec, tmp_path / "store", {"path": str(folder)}) == manifest


def test_the_plan_tells_memory_and_what_does_not_fit(wide):
    wide["data"]["digits"] = {
        "source": "generated",
        "n_train": 1_000_000,
        "n_test": 1000,
        "size": 32,
        "n_classes": 10,
    }
    plan = expand(read(wide))
    facts = facts_of(plan, Forecast(plan, parallel=2))
    source = Generated(n_train=1_000_000, n_test=1000, size=32, n_classes=10)
    assert facts["preparing_bytes"]["digits"] == preparing_bytes(source, None, source.outline())
    fits, does_not = (to_text(facts, bytes_left).splitlines() for bytes_left in (64 * GB, GB))
    [line] = [line for line in fits if line.startswith("Memory: ")]
    assert line.startswith("Memory: up to about 3.16 GB to prepare 'digits', ")
    assert line.endswith(" each); this machine has 64 GB available.")
    assert not any("does not fit" in line for line in fits)
    assert [line.split(" does")[0] for line in does_not if "does not fit" in line] == [
        "On this machine, preparing 'digits'",
        "On this machine, training",
    ]


def test_planning_looks_at_no_image_if_the_size_is_given(folder):
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    assert ImageFolder(path=str(folder), size=200_000).outline().height == 200_000


def test_known_labels_and_more_runs_take_more_memory(wide):
    plan = expand(read(wide))
    specs = {run.id: run.spec for run in plan.runs.values() if not run.teacher}
    outline = Outline(50_000, 10_000, 32, 32, 100)
    [one, *others] = [spec for spec in specs.values() if not spec.data.true_labels][:3]
    alone, together = training_bytes([one], outline), training_bytes([one, *others], outline)
    assert alone < together
    known = next(spec for spec in specs.values() if spec.data.true_labels)
    assert training_bytes([known], outline) > 2 * 60_000 * 100 * 8


def test_a_wide_border_around_images_takes_memory(wide):
    outline = Outline(50_000, 10_000, 32, 32, 100)

    def needed(padding):
        wide["data"]["digits"]["augment"] = {"crop_padding": padding}
        run = next(run for run in expand(read(wide)).runs.values() if run.data == "digits")
        return training_bytes([run.spec], outline), run.spec.recipe.batch

    (none, batch), (much, _) = needed(0), needed(100_000)
    assert much - none == batch * (200_032**2 - 32**2) * 3


def test_a_table_that_needs_no_data_needs_no_memory(root):
    plan = plan_of([root / "config/paper.yaml"], ["table5"])
    text = to_text(facts_of(plan, Forecast(plan)), 64 * GB)
    assert "table5" in text and "Memory" not in text
