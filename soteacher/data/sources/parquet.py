"""Data sets of images in parquet files, as they are downloaded from Hugging Face."""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from soteacher.core.errors import UserError, few, shown
from soteacher.core.hashing import json_sha256
from soteacher.core.lazy import numpy as np
from soteacher.core.registry import register
from soteacher.data import parquet_files as tables
from soteacher.data.images import pixels, same_size
from soteacher.data.labels import check_classes, checked_labels, numbered
from soteacher.data.places import open_regular
from soteacher.data.sources.base import ImageSet, Outline, Place, Source, expanded
from soteacher.data.sources.image_folder import check_class_names

log = logging.getLogger("soteacher")


@register
class Parquet(Source):
    """Parquet files of a column of images and a column of labels; they need the package pyarrow.

    The files of a split are `<split>.parquet`, `<split>-*.parquet`, or all files of a folder
    `<split>`, in the order of their names. An image is a structure `{bytes, path}`, or bytes: an
    image file of the formats that `image_folder` reads, with the same limits and conversions.
    Labels are whole numbers from 0. The names of classes are those that Hugging Face wrote into the
    files, or else the numbers.
    """

    located_by = ("path",)

    path: Place
    """Path of the folder that contains the parquet files, relative to the working directory. The
    path is not part of a run's spec."""
    train: str = Field("train", min_length=1)
    """Name of the split with the training images, with which the names of its files begin."""
    test: str = Field("test", min_length=1)
    """Name of the split with the test images, for example `validation`."""
    image: str | None = Field(None, min_length=1)
    """Name of the column of images. If it is not given, it is the only column that can be one."""
    label: str = Field("label", min_length=1)
    """Name of the column of labels, for example `fine_label` of CIFAR-100."""
    size: int | None = Field(None, ge=1)
    """Height and width of the images, in pixels, as in `image_folder`: images are resized and the
    centre square is cut out. If it is not given, all images must have the same size."""

    def content_key(self) -> str:
        """Return a hash of the bytes of all files, in order."""
        hashes = {}
        for split, files in self._files().items():
            hashes[split] = [_sha256(path) for path in files]
        return json_sha256([hashes["train"], hashes["test"]])

    def outline_of_images(self) -> Outline:
        """Return the sizes; labels are read, and without `size` the first image, too."""
        files = self._files()
        column = self._check_columns(files)
        train, test = (self._labels(files[split]) for split in ("train", "test"))
        if self.size is not None:
            height = width = self.size
        else:
            _, first, _ = next(self._images(files["train"], column))
            height, width, _ = first.shape
        classes = self._classes(files, train, test)
        return Outline(len(train), len(test), height, width, len(classes))

    def read(self) -> ImageSet:
        """Return all images, in the order of their files and rows."""
        files = self._files()
        column = self._check_columns(files)
        labels = {split: self._labels(files[split]) for split in files}
        classes = self._classes(files, labels["train"], labels["test"])
        check_classes(labels["train"], labels["test"], classes, shown(self.path))
        first: tuple[str, tuple[int, ...]] | None = None
        arrays: dict[str, Any] = {}
        for split, paths in files.items():
            n = len(labels[split])
            log.info("reading %d images from %d parquet files of %s", n, len(paths), split)
            names = []
            for index, (where, image, name) in enumerate(self._images(paths, column)):
                if first is None:
                    first = (where, image.shape)
                if index == 0:
                    images = np.empty((n, *first[1]), dtype=np.uint8)  # (N, H, W, 3)
                images[index] = same_size(image, first[1], where, first[0])
                names.append(name)
            arrays[f"{split}_images"] = images
            arrays[f"{split}_labels"] = labels[split]
            arrays[f"{split}_names"] = _distinct(names)
        return ImageSet(**arrays, classes=classes)

    def _files(self) -> dict[str, list[Path]]:
        """Return `train` and `test` to the files of the split that the setting names."""
        folder = expanded(self.path)
        files = {name: tables.files_of(folder, getattr(self, name)) for name in ("train", "test")}
        if shared := {*files["train"]} & {*files["test"]}:
            raise UserError(
                f"{few(map(str, shared))} would be training and test images at once, with `train: "
                f"{self.train}` and `test: {self.test}`: give the names of two different splits"
            )
        return files

    def _check_columns(self, files: dict[str, list[Path]]) -> str:
        """Return the name of the column of images; raise `UserError` unless all files have both."""
        columns = set()
        for path in (path for paths in files.values() for path in paths):
            types = tables.column_types(path)
            columns.add(_image_column(types, self.image, path))
            if self.label not in types:
                raise UserError(
                    f"{shown(str(path))} has no column '{self.label}'; it has {few(types)}: set "
                    "`label` to the column of the labels"
                )
            if not re.fullmatch(r"u?int\d+", str(types[self.label])):
                raise UserError(
                    f"the column '{self.label}' of {shown(str(path))} has values of "
                    f"{types[self.label]}; expected whole numbers from 0: set `label` to another "
                    "column, or number the classes"
                )
        if len(columns) > 1:
            raise UserError(
                f"the files in {shown(self.path)} have images in different columns, "
                f"{few(columns)}; expected one: set `image`"
            )
        return columns.pop()

    def _labels(self, paths: list[Path]) -> np.ndarray:
        labels = []
        for path in paths:
            found = [row[self.label] for some in tables.rows(path, [self.label]) for row in some]
            where = f"the column '{self.label}' of {shown(str(path))}"
            if None in found:
                raise UserError(
                    f"{where} has no value in row {found.index(None)}; expected a label for each "
                    "image: use a split with labels"
                )
            if found:
                labels.append(checked_labels(np.array(found), len(found), where))
        if not labels:
            raise UserError(
                f"{shown(str(paths[0]))} has no rows; expected images: download it again"
            )
        return np.concatenate(labels)

    def _classes(
        self, files: dict[str, list[Path]], train: np.ndarray, test: np.ndarray
    ) -> tuple[str, ...]:
        named = {tuple(tables.class_names(files[split][0], self.label) or ()) for split in files}
        if len(named) > 1:
            raise UserError(
                f"the training and the test files in {shown(self.path)} have different names of "
                "classes; expected files of one data set: download them again"
            )
        names = list(named.pop())
        if not names:
            return numbered(train, test, shown(self.path))
        check_class_names(names, shown(self.path))
        return tuple(names)

    def _images(
        self, paths: list[Path], column: str
    ) -> Iterator[tuple[str, np.ndarray, str | None]]:
        """Yield each image: what messages call it, its pixels, and its name in the file."""
        for path in paths:
            row = 0
            for some in tables.rows(path, [column]):
                for values in some:
                    where = f"{path}, row {row}"
                    data, name = _bytes_of(values[column], where)
                    yield where, pixels(io.BytesIO(data), where, self.size), name
                    row += 1


def _image_column(types: dict[str, Any], name: str | None, path: Path) -> str:
    possible = [column for column, kind in types.items() if _can_be_image(kind)]
    if name is None and len(possible) == 1:
        return possible[0]
    if name in possible:
        return name
    problem = "no column of images" if name is None else f"no column '{name}' of images"
    if name is None and possible:
        problem = "several columns of images"
    raise UserError(
        f"{shown(str(path))} has {problem}; expected a structure {{bytes, path}} or bytes (columns "
        f"of this kind: {few(possible)}; all: {few(types)}): set `image` to the column's name"
    )


def _can_be_image(kind: Any) -> bool:
    """Return whether a type of pyarrow is bytes, or a structure with a field `bytes` of them."""
    from pyarrow import types

    if not types.is_struct(kind):
        return _is_binary(kind)
    fields = [kind.field(index) for index in range(kind.num_fields)]
    found = [field.type for field in fields if field.name == "bytes"]
    # without any image file inside, the type is null: the message about the row says what to do
    return len(found) == 1 and (types.is_null(found[0]) or _is_binary(found[0]))


def _is_binary(kind: Any) -> bool:
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind)


def _bytes_of(value: Any, where: str) -> tuple[bytes, str | None]:
    """Return the bytes of an image's file, and its name if it has one."""
    data, name = value, None
    if isinstance(value, dict):
        data, path = value["bytes"], value.get("path")
        name = path if isinstance(path, str) else None
    if not data:
        raise UserError(
            f"{shown(where)} has no bytes of an image; expected image files inside the parquet "
            "file: save the data set with its images embedded"
        )
    return data, name


def _distinct(names: list[str | None]) -> tuple[str, ...] | None:
    """Return the names if every image has one of its own, or else None."""
    known = tuple(name for name in names if name)
    return known if len(set(known)) == len(names) else None


def _sha256(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"cannot read {shown(str(path))} ({error.strerror}); check the permissions of the file "
            "and its folders, and try again"
        ) from None
