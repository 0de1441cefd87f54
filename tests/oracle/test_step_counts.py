"""What the model of GPU hours says about a training step, against a count on torch's meta device.

Tensors on the meta device have sizes and no values, so a step of any size is counted in a second:
its operations, the numbers that they read and write, and the peak memory of their results. What
reads a value there fails; two such places are replaced.
"""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from soteacher import terms
from soteacher.core import files, registry
from soteacher.core.cursor import Cursor, Stage
from soteacher.data.prepared import open_prepared, prepare
from soteacher.data.settings import Augment
from soteacher.data.spec import DataSpec
from soteacher.data.stream import Stream
from soteacher.models import catalogue
from soteacher.regularizers.base import ImageChange
from soteacher.store.run_folder import RunFolder
from soteacher.study import cost, gpu_hours, operations
from soteacher.study.expand import expand
from soteacher.study.load import load
from soteacher.training.learner import Learner
from soteacher.training.members import Member
from soteacher.training.setup import PassSetup
from soteacher.training.teacher import FrozenTeacher

# They launch nothing on a GPU: views, new memory without values, and what `detach` does.
FREE = {
    *("view", "_unsafe_view", "t", "transpose", "permute", "expand", "slice", "select", "alias"),
    *("unsqueeze", "squeeze", "split", "split_with_sizes", "unbind", "as_strided", "diagonal"),
    *("_reshape_alias", "detach", "unfold", "lift_fresh", "set_", "empty", "empty_like"),
    *("empty_strided", "new_empty", "new_empty_strided"),
}
ROOT = Path(__file__).parents[2]
STUDY = """
study: counts
seeds: [0]
data:
  cifar100: {source: generated, n_train: 640, n_test: 10, size: 32, n_classes: 100}
  tiny_imagenet: {source: generated, n_train: 640, n_test: 10, size: 64, n_classes: 200}
distillers:
  crd: {negatives: 16}
"""


@dataclass
class Counted:
    """Counts of one step by its parts: batch, teacher, forward (of the student), and the rest."""

    operations: Counter = field(default_factory=Counter)
    traffic: Counter = field(default_factory=Counter)
    peak: int = 0


class Counting(TorchDispatchMode):
    """Counts operations, the values that they read and write, and the bytes of what is alive."""

    def __init__(self):
        super().__init__()
        self.counted, self.part = Counted(), ""
        self._alive, self._now = set(), 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves(results) if isinstance(x, torch.Tensor)]
        for tensor in tensors:
            self._note(tensor.untyped_storage())
        if function._schema.name.removeprefix("aten::") not in FREE:
            given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
            self.counted.operations[self.part] += 1
            self.counted.traffic[self.part] += sum(x.numel() for x in (*given, *tensors))
        return results

    def _note(self, storage):
        if storage._cdata not in self._alive:
            self._alive.add(storage._cdata)
            self._now += storage.nbytes()
            self.counted.peak = max(self.counted.peak, self._now)
            weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())

    def _free(self, key, size):
        self._alive.discard(key)
        self._now -= size


@pytest.fixture(scope="module")
def count(tmp_path_factory):
    """A function from a run's id to the counts of one of its steps, and its plan."""
    folder = tmp_path_factory.mktemp("counts")
    (folder / "counts.yaml").write_text(f"store: {folder}/store\n{STUDY}", encoding="utf-8")
    files_of_study = (ROOT / "config/paper.yaml", ROOT / "config/beyond.yaml")
    plan = expand(load(*files_of_study, folder / "counts.yaml"))
    data = {}
    for name in plan.study.data:
        manifest = folder / f"{name}.json"
        files.write_json(manifest, prepare(plan.data_spec(name), folder / "store"))
        data[name] = open_prepared(manifest, folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrozenTeacher, "_load", lambda self, epoch: None)
        generator = terms.generator
        patch.setattr(
            terms,
            "generator",
            lambda number, device="cpu": None if device == "meta" else generator(number, device),
        )
        patch.setattr(
            torch.Tensor, "bincount", lambda labels, **_: torch.ones(100, dtype=torch.int64)
        )
        yield cache(lambda run_id: counted(plan.runs[run_id], data)), plan


def counted(run, data):
    """Return the counts of one step of a run: its main stage, or a stage on the teacher alone."""
    folder = RunFolder(Path("nowhere"), "0" * 64, run.id)
    member = Member(run.id, run.spec, folder, folder if run.teacher else None)
    setup = PassSetup([member], data[run.data], "meta", None)
    losses, first = run.spec.loss_terms(), None
    for term in losses:
        preparation = setup.preparation(run.spec, term)
        if preparation is not None:
            term.receive(preparation.modules)
            first = Learner(folder, run.spec.recipe, setup.stream, None, [], {}, preparation, None)
    of_first = first and counted_step(setup, first, Stage.PREPARE)
    if first:
        first.parts.eval().requires_grad_(False)
    return counted_step(setup, setup.learner(member, losses), Stage.MAIN), of_first


def counted_step(setup, learner, stage):
    learner.enter(Cursor(stage, 0, 0))
    epoch = 1 + (learner.recipe.terms_from if stage == Stage.MAIN else 0)
    learner.enter(Cursor(stage, epoch, 0))
    learner.optimizer.step = lambda: None  # there is no fused SGD on the meta device
    one_step(setup, learner, Cursor(stage, epoch, 0), Counting())
    with Counting() as counting:
        one_step(setup, learner, Cursor(stage, epoch, 1), counting)
    return counting.counted


def one_step(setup, learner, cursor, counting):
    counting.part = "batch"
    batch = setup.stream.batch(cursor)
    counting.part = "teacher"
    with torch.no_grad():
        teacher = setup.teacher(batch) if setup.teacher else None
    counting.part = "rest"
    if learner.network is not None:
        hooks = (
            learner.network.register_forward_pre_hook(
                lambda *_: setattr(counting, "part", "forward")
            ),
            learner.network.register_forward_hook(lambda *_: setattr(counting, "part", "rest")),
        )
    learner.step(batch, teacher)
    if learner.network is not None:
        for hook in hooks:
            hook.remove()


def run_of(plan, network, teacher_method, distiller=None):
    """The first run of a network by a method that is no earlier checkpoint's student."""
    for run in plan.runs.values():
        taught = run.teacher.spec if run.teacher else run.spec
        same = run.spec.network.name == network and set(taught.terms) == set(teacher_method)
        by = set(run.spec.terms) == {distiller} if distiller else run.teacher is None
        if same and by and run.spec.teacher_epoch is None:
            return run
    raise AssertionError((network, teacher_method, distiller))


NETWORKS = [
    ("wrn_40_2", None),
    ("resnet32x4", None),
    ("resnet34", None),
    ("wrn_40_1", "kd"),
    ("wrn_16_2", "kd"),
    ("shufflenet_v2", "kd"),
    ("shufflenet_v2", "sskd"),
    ("resnet18", "kd"),
]


@pytest.mark.parametrize(("network", "distiller"), NETWORKS)
def test_a_step_has_the_stated_operations_and_traffic_and_memory(count, network, distiller):
    counts, plan = count
    run = run_of(plan, network, (), distiller)
    step, _ = counts(run.id)
    outline = plan.study.data[run.data].source.outline()
    stated = operations.own_operations(run.spec, outline) + operations.batch_operations(
        run.spec, outline
    )
    if run.teacher:
        stated += operations.evaluation_operations(run.teacher.spec, outline)
    assert stated == pytest.approx(step.operations.total(), rel=0.12)

    values = sum(catalogue.values(network, *outline.of_network))
    values *= run.spec.recipe.batch * run.spec.stream.turns
    own = step.traffic["forward"] + step.traffic["rest"]
    assert gpu_hours.FORWARD_TRAFFIC * values == pytest.approx(step.traffic["forward"], rel=0.12)
    assert gpu_hours.TRAINING_TRAFFIC * values == pytest.approx(own, rel=0.12)

    # of the estimate, what a step adds to weights, images and the context
    estimate = cost.OF_A_VALUE_ON_A_GPU * values
    if run.teacher:
        name = run.teacher.spec.network.name
        shown = sum(catalogue.values(name, *outline.of_network))
        shown *= run.spec.recipe.batch * run.spec.stream.turns
        estimate += cost.OF_A_TEACHER_S_VALUE * shown
    assert 0.97 < 4 * estimate / step.peak < 1.5


@pytest.mark.parametrize("input_size", [None, 24, 11])
@pytest.mark.parametrize("turns", [1, 4])
def test_a_resized_crop_of_each_view_adds_the_stated_operations(tmp_path, turns, input_size):
    sizes = {"n_train": 64, "n_test": 10, "size": 32, "n_classes": 10}
    if input_size is not None:
        sizes["input_size"] = input_size
    revision = registry.get("data source", "generated").revision
    spec = DataSpec.from_json({"source": "generated", "revision": revision, **sizes})
    manifest = tmp_path / "data.json"
    files.write_json(manifest, prepare(spec, tmp_path))
    data, found = open_prepared(manifest, tmp_path), []
    for augment in (Augment(crop_padding=4), Augment(resized_crop={})):
        stream = Stream(data, augment, 16, 0, "teacher", "meta", turns)
        stream.batch(Cursor(Stage.MAIN, 0, 0))
        with Counting() as counting:
            stream.batch(Cursor(Stage.MAIN, 0, 1))
        found.append(counting.counted.operations.total())
    crop = operations.RESIZED_CROP + operations.PIXEL * {None: 0, 24: 1, 11: 4}[input_size]
    assert found[1] - found[0] == pytest.approx(crop * turns, abs=2 * turns)


def stating(kind):
    """The shipped methods that state their operations; a contributor's method need not."""
    shipped = sorted(registry.shipped(kind))
    return [name for name in shipped if "operations" in vars(registry.get(kind, name))]


METHODS = {kind: stating(kind) for kind in ("regularizer", "distiller")}


def near(stated, found):
    return abs(stated - found) <= max(6, 0.1 * found)


@pytest.mark.parametrize("name", METHODS["distiller"])
def test_a_distiller_adds_the_stated_operations(count, name):
    counts, plan = count
    run = run_of(plan, "wrn_16_2", (), name)
    kd, _ = counts(run_of(plan, "wrn_16_2", (), "kd").id)
    step, first = counts(run.id)
    found = step.operations["rest"] - kd.operations["rest"]
    stated = registry.get("distiller", name).operations
    assert near(stated, found), f"{name}: counted {found}, its file says {stated}"
    turns = operations.TURN * (run.spec.stream.turns - 1)
    assert step.operations["batch"] == pytest.approx(operations.BATCH + turns, abs=2)
    assert (first is not None) == registry.get("distiller", name).prepares_from_teacher
    if first is not None:
        assert first.operations["rest"] == pytest.approx(operations.FIRST_STAGE, abs=12)


@pytest.mark.parametrize("name", METHODS["regularizer"])
def test_a_regularizer_adds_the_stated_operations(count, name):
    counts, plan = count
    standard, _ = counts(run_of(plan, "wrn_40_2", ()).id)
    step, _ = counts(run_of(plan, "wrn_40_2", (name,)).id)
    found = step.operations.total() - standard.operations.total()
    method = registry.get("regularizer", name)
    stated = method.operations
    # one that changes the images draws some of its operations at random
    changes = issubclass(method, ImageChange)
    assert near(stated, found) or (changes and abs(stated - found) < 0.3 * stated), (
        f"{name}: counted {found}, its file says {stated}"
    )


def test_every_method_of_the_paper_states_its_operations():
    for kind, names in METHODS.items():
        for name in registry.shipped(kind):
            in_paper = vars(registry.get(kind, name)).get("in_paper")
            assert name in names or not in_paper, name
