"""Every part that a run's spec names has a revision, and a small result pinned to it.

A run in the store is reused for as long as its spec stays the same. A part that computes something
else under the same revision would pass old results off as its own, so each part's numbers are kept
in revisions.json. `python tests/oracle/test_revisions.py` pins them anew.

What has a gradient is computed in float64, from draws in float64. In float32, kernels of two CPUs
differ by enough to put a ReLU's input on the other side of 0, and the gradient jumps there.
"""

import csv
import hashlib
import io
import json
import struct
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from soteacher.core import files, registry
from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.hashing import canonical_json
from soteacher.core.random import generator, key, numpy_generator, seeded
from soteacher.data import stream as streams
from soteacher.data.augment import normalise
from soteacher.data.prepared import Prepared, prepare
from soteacher.data.settings import STREAM, TRUE_LABELS, Augment
from soteacher.data.sources import cifar100
from soteacher.data.spec import DataSpec
from soteacher.data.stream import Stream
from soteacher.models import catalogue
from soteacher.regularizers.base import ImageChange
from soteacher.store.run_folder import RunFolder
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.specs import LOOP
from soteacher.terms import LossTerm, RunContext, cross_entropy
from soteacher.training import evaluate, setup
from soteacher.training.job import run_job
from soteacher.training.members import JobOptions

PINS = Path(__file__).with_name("revisions.json")
TERMS = ("regularizer", "distiller")
OTHER_SETTINGS = {
    "regularizer consistency": [{"mode": "paper"}]
    + [{"ramp": ramp} for ramp in ("cosine", "cyclic", "piecewise")],
    "regularizer lipschitz": [{"norm": "induced"}, {"norm": "induced_strided"}],
    "regularizer augmix": [{"consistency_weight": 12}],
    "regularizer cutmix": [{"probability": 1}],
    "regularizer l1": [{"parameters": "all"}],
    "study stream": [{"rotation": 20}, {"turns": 4}],
}
"""Settings beside the defaults whose result is pinned, too."""
NEEDED = {"crd": {"negatives": 2}}
"""What a part needs of its settings for so few images."""
FAMILIES = {family.examples[0]: family for family in catalogue.FAMILIES}
STUDY = {
    "study": "pinned",
    "seeds": [0],
    "data": {"images": {"source": "digits", "augment": {"crop_padding": 1, "flip": 0.5}}},
    "recipes": {"short": {"epochs": 2, "batch": 6, "lr": 0.2, "decay_at": [1]}},
    "pairs": {
        "wrn_10_2/wrn_10_1": {
            "data": "images",
            "teacher_recipe": "short",
            "student_recipe": "short",
        }
    },
    "teachers": {"soteacher": {"lipschitz": None, "consistency": None}},
    "distillers": {"kd": None},
    "tables": {"one": {"kind": "accuracy", "teachers": ["soteacher"], "distillers": ["kd"]}},
}


def parts():
    """Kind, name and settings of everything that has a revision."""
    kinds = ("data source", "regularizer", "distiller")
    registered = [(kind, name) for kind in kinds for name in registry.shipped(kind)]
    families = [("network family", name) for name in FAMILIES]
    study = [("study", name) for name in ("stream", "true labels", "loop")]
    return [
        (kind, name, settings)
        for kind, name in [*registered, *families, *study]
        for settings in [{}, *OTHER_SETTINGS.get(f"{kind} {name}", [])]
    ]


def named(kind, name, settings):
    """What a part with settings is called in revisions.json."""
    return " ".join([kind, name, *(f"{key}={value}" for key, value in settings.items())])


def revision(kind, name):
    if kind == "study":
        return {"stream": STREAM, "true labels": TRUE_LABELS, "loop": LOOP}[name]
    return (FAMILIES[name] if kind == "network family" else registry.get(kind, name)).revision


def result(kind, name, settings, folder):
    """A few numbers that the part computes; `folder` is empty and theirs."""
    if kind == "data source":
        found = source_result(name, folder)
    elif kind in TERMS:
        found = term_result(kind, name, settings)
    elif kind == "network family":
        examples = FAMILIES[name].examples
        found = {example: network_result(example) for example in (examples[0], examples[-1])}
    elif settings:
        found = views_result(settings, folder)
    else:
        found = {
            "stream": stream_result,
            "true labels": true_labels_result,
            "loop": loop_result,
        }[name](folder)
    return rounded(found)


@contextmanager
def float64():
    """Torch makes and draws float64 in here, or in a function, unless another type is named."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def normalised(images, mean, std):
    """As training normalises images, every operation of which is exact on any CPU, in float64."""
    return normalise(images, mean, std).double()


def rounded(value):
    """Floats to six significant digits, all through."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def alike(found, pinned):
    """Whether floats agree to 1e-4 of their size, and all else exactly."""
    if isinstance(found, dict) and isinstance(pinned, dict):
        same_keys = found.keys() == pinned.keys()
        return same_keys and all(alike(found[key], pinned[key]) for key in found)
    if isinstance(found, list) and isinstance(pinned, list):
        return len(found) == len(pinned) and all(map(alike, found, pinned))
    if isinstance(found, float) and isinstance(pinned, float):
        return found == pytest.approx(pinned, rel=1e-4)
    return type(found) is type(pinned) and found == pinned


# -- the parts ----------------------------------------------------------------------------------


def array_facts(array):
    """Shape and contents of an array of whole numbers: two sums, one of which knows places."""
    flat = np.asarray(array).reshape(-1).astype(np.int64)
    places = np.arange(len(flat)) % 997 + 1
    return [list(array.shape), int(flat.sum()), int((flat * places).sum())]


def image_folder(folder, patch):
    """Settings of class folders of two shapes and three modes, made in a folder."""
    random = np.random.default_rng(0)
    for number, place in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (folder / place).mkdir(parents=True)
        for mode, shape in (("L", (9, 12)), ("RGB", (14, 11, 3)), ("RGBA", (12, 12, 4))):
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{mode}{number}.png")
    return {"path": str(folder), "size": 8}


IMAGE_SIZES = {"resnet": 16, "shufflenet_v2": 16}
"""Of the modules whose last maps would be single pixels: batch norms of four numbers each magnify
rounding beyond what the pins allow."""


def cifar100_folder(folder, patch):
    """Official files of few images, pickled as Python 2 and the numpy of its time did."""
    random = np.random.default_rng(0)
    files_of = {"meta": b"(dS'fine_label_names'\n(lS'a'\naS'b'\naS'c'\nas."}
    for split, n in (("train", 5), ("test", 3)):
        pixels = random.integers(0, 256, n * 3072, dtype=np.uint8).tobytes()
        labels = b"".join(b"I%d\na" % (k * 2 % 3) for k in range(n))
        files_of[split] = (
            b"(dS'data'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
            b"(I1\n(I%d\nI3072\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
            b"I00\nT%b%btbsS'fine_labels'\n(l%bs."
        ) % (n, struct.pack("<i", len(pixels)), pixels, labels)
    for name, data in files_of.items():
        (folder / name).write_bytes(data)
    facts = {name: hashlib.md5(files_of[name]).hexdigest() for name in cifar100.MEMBERS}
    patch.setattr(cifar100, "MEMBERS", facts)
    return {"path": str(folder)}


def tiny_imagenet_folder(folder, patch):
    """Two classes, two images of each, of one colour each: decoders agree about those."""
    (folder / "wnids.txt").write_text("n2\nn1\n")
    annotations = []
    for number, (place, n) in enumerate((("train/n1", 2), ("train/n2", 2), ("val", 3))):
        (folder / place / "images").mkdir(parents=True)
        for k in range(n):
            grey = 40 * number + 10 * k
            image = Image.new("L" if k else "RGB", (64, 64), grey if k else (grey,) * 3)
            image.save(folder / place / f"images/{number}_{k}.JPEG", quality=100)
            annotations.append(f"{number}_{k}.JPEG\tn{1 + k % 2}\t0\t0\t1\t1\n")
    (folder / "val/val_annotations.txt").write_text("".join(annotations[-3:]))
    return {"path": str(folder), "classes": 2}


def generated(folder, patch):
    """A few images of noise."""
    return {"n_train": 5, "n_test": 3, "size": 4, "n_classes": 3}


def arrays(folder, patch):
    """An .npz file of a few grey images, with names of classes."""
    random = np.random.default_rng(0)
    saved = {"classes": np.array(["a", "b"])}
    for split, n in (("train", 5), ("test", 3)):
        saved[f"{split}_images"] = random.integers(0, 256, (n, 4, 6), dtype=np.uint8)
        saved[f"{split}_labels"] = np.arange(n)[:, None] % 2
    np.savez(folder / "images.npz", **saved)
    return {"path": str(folder / "images.npz")}


def parquet(folder, patch):
    """Files of a few images of two shapes and modes, as PNG."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files_of_tables

    random = np.random.default_rng(0)
    for split, n in (("train", 5), ("test", 3)):
        images = []
        for k in range(n):
            file = io.BytesIO()
            shape = (9, 12) if k % 2 else (14, 11, 3)
            Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(file, "PNG")
            images.append({"bytes": file.getvalue(), "path": f"{k}.png"})
        table = pyarrow.table({"image": images, "label": [k % 2 for k in range(n)]})
        files_of_tables.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return {"path": str(folder), "size": 8}


MADE = {
    "arrays": arrays,
    "cifar100": cifar100_folder,
    "generated": generated,
    "image_folder": image_folder,
    "parquet": parquet,
    "tiny_imagenet": tiny_imagenet_folder,
}
"""Sources that have no images of their own."""


def source_result(name, folder):
    with pytest.MonkeyPatch.context() as patch:
        settings = MADE[name](folder, patch) if name in MADE else {}
        found = registry.get("data source", name)(**settings).read()
    arrays = ("train_images", "train_labels", "test_images", "test_labels")
    return {
        **{array: array_facts(getattr(found, array)) for array in arrays},
        "classes": list(found.classes),
        "mean": found.mean and list(found.mean),
        "std": found.std and list(found.std),
    }


@float64()
def network_of(name, number, n_classes=3):
    with seeded(number):
        return catalogue.build(name, n_classes)


@float64()
def images_of(number, size=8):
    return torch.randn(4, 3, size, size, generator=generator(number))


def norm(values):
    return torch.stack([value.norm() for value in values if value is not None]).norm().item()


def network_result(name):
    """Initial weights, features, predictions in both modes, and a gradient, of one network."""
    size = IMAGE_SIZES.get(catalogue.find(name)[0].module, 8)
    network = network_of(name, 0)
    weights = list(network.parameters())
    output = network.train()(images_of(1, size))
    return {
        "first_weights": norm(weights[:1]),
        "weights": norm(weights),
        "features": {key: norm([value]) for key, value in output.features.items()},
        "train_predictions": output.logits.softmax(dim=1)[0].tolist(),
        "gradient": norm(torch.autograd.grad(output.logits.square().sum(), weights)),
        "eval_predictions": network.eval()(images_of(2, size)).logits.softmax(dim=1)[0].tolist(),
    }


def sharper(output):
    return output._replace(logits=8 * output.logits)


def shapes(output):
    return {name: tuple(value.shape[1:]) for name, value in output.features.items()}


def term_result(kind, name, settings):
    """Losses and gradients of the settings in each of three epochs, a batch each.

    Logits are scaled up, since the untrained networks' predictions would hardly differ.
    """
    term = registry.get(kind, name)(**NEEDED.get(name, {}) | settings)
    if kind == "distiller":
        term = term.for_teacher("standard")
    network, teacher = network_of("wrn_10_1", 0).train(), network_of("wrn_10_2", 1).eval()
    taught = kind == "distiller"
    views = term.turns  # each image turned, as the stream does
    with torch.no_grad():
        seen = shapes(teacher(images_of(1)))
        own = shapes(network_of("wrn_10_1", 0)(images_of(1)))
    every = torch.tensor([0, 2, 1, 2])
    context = RunContext(4, 3, 3, "cpu", own, seen if taught else None, 0, "student", every)
    term.start(context)
    with seeded(2), float64():
        modules = term.build(context)
    parameters = [*network.parameters(), *torch.nn.ModuleDict(modules).parameters()]
    found = prepared_result(term, context, network, teacher) if taught else []
    for epoch in range(3):
        order = torch.tensor([0, 1, 2, 3]).roll(epoch)
        images, labels = images_of(10 + epoch)[order], every[order]
        images = torch.cat([images.rot90(turn, dims=(2, 3)) for turn in range(views)])
        output = sharper(network(images))
        with torch.no_grad():
            answer = sharper(teacher(images)) if taught else None
        batch = Batch(images, labels, order, Cursor(Stage.MAIN, epoch, 0))
        if isinstance(term, ImageChange):
            batch = changed(term, batch)
            output = sharper(network(batch.images))
        batch = term.retarget(batch)
        losses = term.losses(batch, output, answer, network)
        if isinstance(term, ImageChange) or type(term).retarget is not LossTerm.retarget:
            losses["ce"] = cross_entropy(batch, output)
        row = {key: loss.item() for key, loss in losses.items()}
        if losses:
            total = sum(losses.values())
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
            row["gradient"] = norm(gradients)
            row["gradient_but_convolutions"] = norm(
                g for g, value in zip(gradients, parameters, strict=True) if value.dim() != 4
            )
        found.append(row)
        term.end_epoch(epoch)
        if term.takes_train_logits:
            term.take_train_logits(output.logits.detach(), labels)
    return found


def changed(term, batch):
    """A batch as the stream would make it, of the same images as pixels."""

    def random(purpose):
        return numpy_generator(key(0, "teacher", purpose, "MAIN", batch.cursor.epoch))

    spread = (batch.images.permute(0, 2, 3, 1) * 60 + 128).clamp(0, 255).to(torch.uint8)
    middle, scale = (torch.full((3,), n / 255, dtype=torch.float32) for n in (128, 60))
    images = normalised(term.augment(spread, random), middle, scale)
    return term.mix(replace(batch, images=images), 3, random)


def prepared_result(term, context, network, teacher):
    """The loss and gradient of a first stage, if there is one; what it made goes to the term."""
    alone = replace(context, student_features=None)
    with seeded(3), float64():
        stage = term.preparation(alone, None, {}) or term.preparation(context, network, {})
    if stage is None:
        return []
    images, order = images_of(9), torch.arange(4)
    images = torch.cat([images.rot90(turn, dims=(2, 3)) for turn in range(term.turns)])
    batch = Batch(images, context.labels, order, Cursor(Stage.PREPARE, 0, 0))
    with torch.no_grad():
        answer = teacher(images)
    output = network.eval()(images) if stage.student else None
    losses = stage.loss(batch, output, answer)
    parameters = list(torch.nn.ModuleDict(stage.modules).parameters())
    gradients = torch.autograd.grad(sum(losses.values()), parameters, allow_unused=True)
    network.train()
    if not stage.student:
        for module in stage.modules.values():
            module.eval().requires_grad_(False)
        term.receive(stage.modules)
    rates = [stage.lr(epoch) for epoch in (0, stage.epochs - 1)] if stage.lr else []
    row = {key: loss.item() for key, loss in losses.items()}
    return [row | {"gradient": norm(gradients), "epochs": stage.epochs, "rates": rates}]


def small_data(folder, spec, train_images):
    """A prepared data set of three classes, as `prepare` would leave it."""
    random = np.random.default_rng(0)
    n = len(train_images)
    arrays = {
        "train_images": train_images,
        "train_labels": np.arange(n) % 3,
        "train_truth": random.dirichlet([4.0, 2.0, 1.0], n),
        "test_images": random.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8),
        "test_labels": np.arange(5) % 3,
        "test_truth": random.dirichlet([4.0, 2.0, 1.0], 5),
    }
    manifest = {"spec": spec, "classes": ["a", "b", "c"], "arrays": {}}
    manifest |= {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        sha256 = files.sha256_of(folder / f"{name}.npy")
        facts = {"sha256": sha256, "shape": list(array.shape), "dtype": str(array.dtype)}
        manifest["arrays"][name] = facts
    return Prepared(folder, manifest)


def stream_result(folder):
    """Order, crop offsets, flips and drawn labels of two epochs, read off the batches.

    Every pixel of an image tells its row (red) and column (green), so that the middle of a batch's
    image tells where it was cropped, and whether it was flipped.
    """
    row, column = np.indices((8, 8), dtype=np.uint8)
    image = np.stack([row, column, 0 * row], axis=-1)
    data = small_data(folder, {}, np.tile(image, (11, 1, 1, 1)))
    found = {"labels": np.asarray(data.train_labels(3)).tolist()}
    for role, epoch in (("teacher", 0), ("student", 1)):
        stream = Stream(data, Augment(crop_padding=2, flip=0.5), 4, 3, role, "cpu")
        rows = []
        for step in range(stream.steps):
            batch = stream.batch(Cursor(Stage.MAIN, epoch, step))
            mean = torch.tensor(data.manifest["mean"])[:, None, None]
            std = torch.tensor(data.manifest["std"])[:, None, None]
            pixels = ((batch.images * std + mean) * 255).round().long()
            for index, label, seen in zip(batch.indices, batch.labels, pixels, strict=True):
                left, right = seen[1, 4, 3].item(), seen[1, 4, 4].item()
                flipped = int(left > right)
                offsets = [seen[0, 4, 4].item() - 2, min(left, right) - 1]
                rows.append([index.item(), label.item(), *offsets, flipped])
        found[f"{role} epoch {epoch}: index, label, row, column, flip"] = rows
    return found


def views_result(augment, folder):
    """The augmented pixels of a batch in each of two epochs."""
    random = np.random.default_rng(2)
    data = small_data(folder, {}, random.integers(0, 256, (11, 8, 8, 3), dtype=np.uint8))
    turns = augment.get("turns", 1)
    others = {key: value for key, value in augment.items() if key != "turns"}
    settings = Augment(crop_padding=2, flip=0.5, **others)
    stream = Stream(data, settings, 4, 3, "teacher", "cpu", turns)
    mean = torch.tensor(data.manifest["mean"])[:, None, None]
    std = torch.tensor(data.manifest["std"])[:, None, None]
    batches = [stream.batch(Cursor(Stage.MAIN, epoch, 0)) for epoch in range(2)]
    return [array_facts(((b.images * std + mean) * 255).round()) for b in batches]


def true_labels_result(folder):
    """Distributions of the digits, and the labels that are drawn from them."""
    spec = {
        "source": "digits",
        "revision": revision("data source", "digits"),
        "true_labels": {"revision": TRUE_LABELS, "confusion": 0.3, "split": [0.6, 0.4]},
    }
    manifest = prepare(DataSpec.from_json(spec), folder)
    [made] = (folder / "data").iterdir()
    data = Prepared(made, manifest)
    return {
        "look_alikes": manifest["look_alikes"],
        "truth": data.array("train_truth")[0].tolist(),
        "truth_by_class": data.array("train_truth").sum(axis=0).tolist(),
        "test_labels": array_facts(data.array("test_labels")),
        "train_labels": array_facts(data.train_labels(0)),
    }


def loop_result(folder):
    """A teacher with both regularizers, then its student: two epochs of two steps each."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (streams, evaluate):
            patch.setattr(module, "normalise", normalised)
        patch.setattr(setup, "build", float64()(setup.build))
        patch.setattr(setup.PassSetup, "_shapes", float64()(setup.PassSetup._shapes))
        return trained_result(folder)


def trained_result(folder):
    """The rates, losses, weights and logits of both, as the store has them."""
    expanded = expand(read(STUDY))
    random = np.random.default_rng(1)
    train_images = random.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    data = small_data(folder, expanded.data_spec("images").to_json(), train_images)
    how = JobOptions(folder / "store", "cpu", torch.get_num_threads(), False, 600.0)
    trained, found = {}, {}
    for role in ("teacher", "student"):
        [job] = expanded.jobs[role].values()
        trained = run_job(job.request, data, trained, how)["runs"]
        [(run_id, entry)] = trained.items()
        run = RunFolder(how.store, entry["fingerprint"], run_id)
        with open(run.artifact("history.csv"), newline="") as file:
            rows = list(csv.DictReader(file))
        weights = load_file(run.artifact("weights.safetensors"))
        logits = np.load(run.artifact("test_logits.npy"))
        found[role] = {
            "rates": [float(row["lr"]) for row in rows],
            "losses": [
                {key: float(row[key]) for key in row if key.startswith("loss_") and row[key]}
                for row in rows
            ],
            "convolutions": norm(value for value in weights.values() if value.dim() == 4),
            "test_logits": np.linalg.norm(logits, axis=1).tolist(),
        }
    return found


# -- the pins -----------------------------------------------------------------------------------


def pinned():
    return json.loads(PINS.read_text())


def pin():
    """Write revisions.json, and say whose numbers are other ones under an old revision."""
    before = pinned() if PINS.is_file() else {}
    after = {}
    for kind, name, settings in parts():
        with tempfile.TemporaryDirectory() as folder:
            part = named(kind, name, settings)
            found = result(kind, name, settings, Path(folder))
        after[part] = {"revision": revision(kind, name), "result": found}
        old = before.get(part, after[part])
        if old["revision"] == after[part]["revision"] and not alike(found, old["result"]):
            print(f"{part}: another result, but no new revision")
    lines = [f"{json.dumps(part)}: {canonical_json(entry)}" for part, entry in after.items()]
    PINS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


@pytest.mark.parametrize(("kind", "name", "settings"), parts())
def test_a_parts_result_is_the_one_pinned_to_its_revision(kind, name, settings, tmp_path):
    part = named(kind, name, settings)
    again = "pin it again (python tests/oracle/test_revisions.py)"
    entry = pinned().get(part)
    assert entry is not None, f"{part} is not in {PINS.name}: {again}"
    now = revision(kind, name)
    assert entry["revision"] == now, f"{part} has the new revision {now}: {again}"
    found = result(kind, name, settings, tmp_path)
    assert alike(found, entry["result"]), (
        f"the result of {part} changed: give it a new revision and {again}\n"
        "(unless it only uses a part whose result changed too: then that part is the one)\n"
        f"pinned: {entry['result']}\nfound:  {found}"
    )


def test_nothing_is_pinned_that_is_not_registered():
    assert {*pinned()} == {named(*part) for part in parts()}


@pytest.mark.parametrize(
    ("found", "kept", "same"),
    [
        ({"a": [1.0, 2]}, {"a": [1.00005, 2]}, True),
        ({"a": [1.0, 2]}, {"a": [1.0005, 2]}, False),
        ({"a": [1.0, 2]}, {"a": [1.0, 3]}, False),
        ({"a": [1.0, 2]}, {"a": [1.0]}, False),
        ({"a": 1.0}, {"b": 1.0}, False),
        (10**9, 10**9 + 1, False),
        (1, 1.0, False),
        (float("nan"), float("nan"), False),
        (None, None, True),
        ("a", "b", False),
    ],
)
def test_results_are_alike_to_four_digits_and_whole_numbers_exactly(found, kept, same):
    assert alike(found, kept) is same


if __name__ == "__main__":
    pin()
