"""Prepared data sets: arrays in the store, and a manifest with their hashes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

from soteacher.core import files
from soteacher.core.errors import Damaged, Missing, UserError, unknown
from soteacher.core.hashing import json_sha256
from soteacher.core.lazy import numpy as np
from soteacher.core.random import key
from soteacher.core.sealed import Form, read_sealed, write_sealed
from soteacher.data import true_labels as truth
from soteacher.data.counts import CountsOfImages
from soteacher.data.images import resized
from soteacher.data.memory import check_preparation
from soteacher.data.normalisation import normalisation
from soteacher.data.settings import TrueLabels
from soteacher.data.sources.base import Outline, Source
from soteacher.data.spec import DataSpec

log = logging.getLogger("soteacher")

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
TRAIN_RESIZED = "train_resized"
"""The training images in the size of the test images, if they are stored in a larger one."""


class _Array(Form):
    sha256: str
    shape: list[int]


class _Arrays(Form):
    train_images: _Array
    train_labels: _Array
    test_images: _Array
    test_labels: _Array
    train_truth: _Array | None = None
    test_truth: _Array | None = None
    train_resized: _Array | None = None


class _Manifest(Form):
    spec: dict[str, Any]
    classes: list[str]
    mean: list[float]
    std: list[float]
    arrays: _Arrays
    content: str | None = None


def read_data_manifest(path: Path, what: str, missing_ok: bool = False) -> dict[str, Any] | None:
    """Return a manifest of prepared data; see `core.sealed.read_sealed` for errors."""
    manifest: dict[str, Any] | None = read_sealed(path, what, _Manifest, missing_ok)
    return manifest


def prepare(spec: DataSpec, store: Path, location: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write the arrays of a data spec to the store if they are missing; return the manifest.

    The manifest holds shapes, classes, normalisation and the sha256 of every array. It holds no
    time, host or path, so equal data have equal manifests. `location` holds the settings that say
    where the images are; the content of that place is checked in every call. Downloads are kept in
    the store, for other data sets of the same source.
    """
    source = spec.open_source(location)
    if not any((Path(store) / "data").glob(f"{folder_of(spec, store).name}*")):
        # before a large set is read in whole for its hash
        check_preparation(spec.source, source, spec.true_labels)
    content = spec.content_key(location)
    folder = folder_of(spec, store, content)
    if not _whole(folder):
        with files.locked(folder, folder.name):
            if not _whole(folder):  # another process may have written it meanwhile
                check_preparation(spec.source, source, spec.true_labels)
                downloads = Path(store) / "downloads" / spec.source
                counts = spec.open_counts(location)
                _write_arrays(spec, source.fetched(downloads), counts, content, folder)
    prepared = stored_data(folder)
    if prepared is None:
        raise Damaged(f"the prepared data in {folder} were deleted meanwhile; {files.AGAIN}")
    prepared.check()
    return prepared.manifest


def folder_of(spec: DataSpec, store: Path, content: str | None = None) -> Path:
    """Return the store's folder for a data spec and, if the content may vary, its content."""
    name = f"{spec.source}-{spec.sha256[:16]}"
    return Path(store) / "data" / (name if content is None else f"{name}-{content[:16]}")


def _whole(folder: Path) -> bool:
    """Whether the folder has an intact manifest, which is written last, and all its arrays."""
    try:
        prepared = stored_data(folder)
    except Damaged as damage:
        log.warning("%s; the data are prepared again", damage)
        return False
    return prepared is not None and all(
        files.is_file(folder / f"{name}.npy", "a prepared array")
        for name in prepared.manifest["arrays"]
    )


def stored_data(folder: Path) -> Prepared | None:
    """Return the prepared data in a folder of the store, or None if they are not complete."""
    path = folder / "manifest.json"
    manifest = read_data_manifest(path, "the manifest of prepared data", missing_ok=True)
    if manifest is None:
        return None
    own = folder_of(
        DataSpec.from_json(manifest["spec"]), folder.parents[1], manifest.get("content")
    )
    if own.name != folder.name:
        raise Damaged(f"{path} is the manifest of other data, {own.name}")
    return Prepared(folder, manifest)


def _write_arrays(
    spec: DataSpec,
    source: Source,
    counts: CountsOfImages | None,
    content: str | None,
    folder: Path,
) -> None:
    images = source.read()
    arrays = {name: getattr(images, name) for name in ARRAYS}
    if source.input_size is not None:
        arrays["test_images"] = resized(images.test_images, source.input_size)
        arrays[TRAIN_RESIZED] = resized(images.train_images, source.input_size)
    manifest: dict[str, Any] = {
        "spec": spec.to_json(),
        "classes": list(images.classes),
        **normalisation(images),
    }
    if content is not None:
        manifest["content"] = content
    if counts is not None:
        arrays |= {f"{split}_truth": truths for split, truths in counts.of(images).items()}
    elif isinstance(spec.true_labels, TrueLabels):
        truths, near = truth.of_look_alikes(images, spec.true_labels)
        arrays |= truths
        manifest["look_alikes"] = near.tolist()
    if "test_truth" in arrays:
        arrays["test_labels"] = truth.draw(arrays["test_truth"], key(0, "data", "test labels"))
    manifest["arrays"] = {}
    for name, array in arrays.items():
        manifest["arrays"][name] = {
            "sha256": files.write_hashed(folder / f"{name}.npy", partial(_save, array=array)),
            "shape": list(array.shape),
            "dtype": str(array.dtype),
        }
    write_sealed(folder / "manifest.json", manifest)


def _save(file: BinaryIO, array: np.ndarray) -> None:
    np.save(file, array)


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: its manifest, and its arrays, which are read when they are used."""

    folder: Path
    manifest: dict[str, Any]
    _checked: set[str] = field(default_factory=set, compare=False, repr=False)
    """The arrays that have been compared with their hashes."""

    @property
    def sha256(self) -> str:
        """Hash of all that training reads; the fingerprints of runs on these data contain it.

        Other entries of the manifest, present or future, do not change it.
        """
        arrays = {name: facts["sha256"] for name, facts in self.manifest["arrays"].items()}
        return json_sha256(
            {"arrays": arrays, "mean": self.manifest["mean"], "std": self.manifest["std"]}
        )

    @property
    def n_classes(self) -> int:
        """The number of classes, K."""
        return len(self.manifest["classes"])

    @property
    def outline(self) -> Outline:
        """The sizes of the data set."""
        arrays = self.manifest["arrays"]
        n_train, stored_size, *_ = arrays["train_images"]["shape"]
        n_test, height, width, _ = arrays["test_images"]["shape"]
        sizes = Outline(n_train, n_test, height, width, self.n_classes)
        return replace(sizes, stored_size=stored_size) if TRAIN_RESIZED in arrays else sizes

    @property
    def has_truth(self) -> bool:
        """Whether p*(x) is known for every training image."""
        return "train_truth" in self.manifest["arrays"]

    @property
    def has_test_truth(self) -> bool:
        """Whether p*(x) is known for every test image: a file of counts may lack them."""
        return "test_truth" in self.manifest["arrays"]

    def check(self) -> None:
        """Compare every array with its recorded hash."""
        for name, facts in self.manifest["arrays"].items():
            files.checked(self.folder / f"{name}.npy", facts["sha256"], f"prepared array {name}")
            self._checked.add(name)

    def array(self, name: str) -> np.ndarray:
        """Return one array, memory-mapped copy-on-write: changes stay in this process.

        When it is first read, it is compared with its recorded hash.
        """
        if name not in self.manifest["arrays"]:
            raise UserError(unknown("array", name, self.manifest["arrays"]))
        path = self.folder / f"{name}.npy"
        if name not in self._checked:
            files.checked(path, self.manifest["arrays"][name]["sha256"], f"prepared array {name}")
            self._checked.add(name)
        return np.load(path, mmap_mode="c")

    def whole_images(self, split: str) -> np.ndarray:
        """Return the images of a split as networks are tested on them, uint8, (N, H, W, 3)."""
        is_larger = split == "train" and TRAIN_RESIZED in self.manifest["arrays"]
        return self.array(TRAIN_RESIZED if is_larger else f"{split}_images")

    def train_labels(self, seed: int) -> np.ndarray:
        """Return the training labels, (N,); if p* is known, they are drawn from it for the seed."""
        if not self.has_truth:
            return self.array("train_labels")
        return truth.draw(self.array("train_truth"), key(seed, "data", "train labels"))

    @cached_property
    def test_classes(self) -> np.ndarray:
        """The classes that test accuracy is measured against, (M,): argmax p*, or the labels."""
        if not self.has_test_truth:
            return np.asarray(self.array("test_labels"))
        return np.asarray(self.array("test_truth")).argmax(axis=1)


def open_prepared(manifest_path: Path, store: Path) -> Prepared:
    """Open the data set that a manifest describes; the store must have the same manifest."""
    manifest = read_data_manifest(manifest_path, "the data manifest") or {}
    folder = folder_of(DataSpec.from_json(manifest["spec"]), store, manifest.get("content"))
    prepared = stored_data(folder)
    if prepared is None:
        raise Missing(f"prepared data are not in the store: {folder}; {files.AGAIN}")
    if prepared.manifest != manifest:
        raise Damaged(
            f"{manifest_path} differs from the manifest of the same data in the store, {folder}: "
            f"delete it, then {files.AGAIN}"
        )
    return prepared
