"""Label counts or probabilities of each image, in a file: they are true label distributions.

J. C. Peterson et al., Human uncertainty makes classification more robust, ICCV 2019, published such
counts of the test images of CIFAR-10 (CIFAR-10H).
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from soteacher.core.errors import Missing, UserError, few, only_in_one, shown
from soteacher.core.lazy import numpy as np
from soteacher.data.array_files import ArrayFiles, load_rows
from soteacher.data.places import check_place, open_regular
from soteacher.data.sources.base import ImageSet, expanded

SPLITS = ("train", "test")
FORMS = (
    "a .csv file with a column `image`, an .npy file with the rows of the training images, or an "
    ".npz file or a folder with the arrays train_truth and test_truth"
)
IMAGE = "image"
OFF = 1e-3
"""Difference from 1 that a sum of probabilities may have: they may be rounded, or float32."""


class CountsOfImages:
    """A file of label counts; it is read when its hash or its distributions are asked for."""

    def __init__(self, path: str) -> None:
        self.place = expanded(path)
        check_place(self.place)
        if not os.path.exists(self.place):
            raise Missing(
                f"{shown(str(self.place))} does not exist (working directory: {Path.cwd()}): "
                "correct `counts` of `true_labels`"
            )
        self.where = shown(str(self.place))
        is_arrays = os.path.isdir(self.place) or self.place.suffix == ".npz"
        self._arrays = ArrayFiles(self.place, "true_labels.counts") if is_arrays else None
        if not is_arrays and self.place.suffix not in (".csv", ".npy"):
            raise UserError(f"{self.where} is no file of counts; expected {FORMS}")

    def content_key(self) -> str:
        """Return a hash of the file's bytes."""
        if self._arrays is not None:
            return self._arrays.content_key(f"{split}_truth" for split in SPLITS)
        try:
            with open_regular(self.place) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise self._unreadable(str(error.strerror)) from None

    def of(self, images: ImageSet) -> dict[str, np.ndarray]:
        """Return `train` and, if the file has the test images, `test` to p* of each image, (N, K).

        Raises `UserError` if the rows are not those of the images, or are no distributions.
        """
        labels = {"train": images.train_labels, "test": images.test_labels}
        names: dict[str, Sequence[str] | None] = dict.fromkeys(SPLITS)
        if self.place.suffix == ".csv" and self._arrays is None:
            found = self._of_csv(images)
            names = {"train": images.train_names, "test": images.test_names}
        elif self._arrays is None:
            found = {"train": load_rows(self.place)}
        else:
            arrays = self._arrays.names()
            if "train_truth" not in arrays:
                raise UserError(
                    f"{self.where} has no array train_truth (it has {few(arrays)}); expected "
                    f"{FORMS}"
                )
            wanted = [split for split in SPLITS if f"{split}_truth" in arrays]
            found = {split: self._arrays.load(f"{split}_truth") for split in wanted}
        return {
            split: self._distributions(
                rows, split, (len(labels[split]), len(images.classes)), names[split]
            )
            for split, rows in found.items()
        }

    def _distributions(
        self,
        rows: np.ndarray,
        split: str,
        expected: tuple[int, int],
        names: Sequence[str] | None,
    ) -> np.ndarray:
        """Return the rows, each divided by its sum.

        expected : (N, K), their shape.   names : of the images, which messages give instead of the
        rows of an array, because a table can have its rows in any order.
        """

        def place(row: int) -> str:
            if names is None:
                return f"row {row}, counted from 0"
            return f"the row of {shown(names[row])}"

        what = f"the {split} rows of {self.where}"
        if rows.dtype.kind not in "iuf":
            raise UserError(f"{what} have values of {rows.dtype}; expected numbers: convert them")
        if rows.shape != expected:
            raise UserError(
                f"{what} have the shape {rows.shape}; expected {expected}, one row for each of the "
                f"{expected[0]} images and one column for each of the {expected[1]} classes: give "
                "the rows of this data set, in the order of its images"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            values = rows.astype(np.float64)
            sums = values.sum(axis=1)
        wrong = ~np.isfinite(values) | (values < 0)
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise UserError(
                f"{what} have the value {values[row, column]} for class {column}, counted from 0, "
                f"in {place(row)}; expected counts or probabilities of at least 0: correct it"
            )
        if (large := ~np.isfinite(sums)).any():
            raise UserError(
                f"{what} have values with a sum that is too large to compute in "
                f"{place(int(large.argmax()))}; expected counts of labels, or probabilities that "
                "sum to 1: correct them"
            )
        if (sums == 0).any():
            raise UserError(
                f"{what} have no label in {place(int((sums == 0).argmax()))}; "
                "expected at least one label for each image: add it, or leave out the image"
            )
        if (values != np.rint(values)).any() and (far := np.abs(sums - 1) > OFF).any():
            row = int(far.argmax())
            raise UserError(
                f"{what} have the sum {sums[row]:.4g} in {place(row)}; expected whole counts, or "
                "probabilities that sum to 1: divide each row by its sum"
            )
        return values / sums[:, None]

    def _of_csv(self, images: ImageSet) -> dict[str, np.ndarray]:
        names = {"train": images.train_names, "test": images.test_names}
        if names["train"] is None or names["test"] is None:
            raise UserError(
                f"{self.where} names images, but the images of this source have no names; expected "
                "an .npy file with one row for each training image, in their order"
            )
        if IMAGE in images.classes:
            raise UserError(
                f"{self.where} cannot have counts of the class '{IMAGE}', because the column "
                f"'{IMAGE}' of a table names the images; expected an .npy file with one row for "
                "each training image, in their order, or another name of the class"
            )
        known, values = self._table(images.classes)
        position = {name: row for row, name in enumerate(known)}
        every = {*names["train"], *names["test"]}
        only_file, _ = only_in_one(known, every)
        if {*known} - every:
            raise UserError(
                f"{self.where} has images that the data set does not have: {only_file}; expected "
                f"paths like {shown(names['train'][0])}: correct the column '{IMAGE}', or remove "
                "these rows"
            )
        found = {}
        for split in SPLITS:
            missing = [name for name in names[split] or () if name not in position]
            if split == "test" and len(missing) == len(names["test"]):
                continue  # the test images have labels alone
            if missing:
                raise UserError(
                    f"{self.where} lacks {len(missing)} of the {len(names[split] or ())} {split} "
                    f"images: {few(missing)}; expected a row for each: add it, or leave out the "
                    "image"
                )
            found[split] = values[[position[name] for name in names[split] or ()]]
        return found

    def _table(self, classes: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Return the images of a CSV file, and their values, (rows, K), in the order of classes."""
        try:
            with open_regular(self.place) as file:
                text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
                reader = csv.reader(text, strict=True)
                lines = [(reader.line_num, row) for row in reader if row]
        except UserError:
            raise
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise self._unreadable(getattr(error, "strerror", None) or str(error)) from None
        header = lines[0][1] if lines else []
        if Counter(header) != Counter([IMAGE, *classes]):
            only_file, only_data = only_in_one(header, [IMAGE, *classes])
            raise UserError(
                f"{self.where} has other columns than '{IMAGE}' and the classes, each once (only "
                f"in the file: {only_file}; missing: {only_data}): correct its first line"
            )
        columns, image = [header.index(name) for name in classes], header.index(IMAGE)
        values = np.empty((len(lines) - 1, len(classes)))
        for index, (line, row) in enumerate(lines[1:]):
            try:
                values[index] = [_number(row[column]) for column in columns]
                if len(row) != len(header):
                    raise ValueError
            except (ValueError, IndexError):
                raise UserError(
                    f"{self.where} has {shown(','.join(row))} in line {line}; expected an image "
                    f"and {len(classes)} numbers: correct the line"
                ) from None
        names = [row[image] for _, row in lines[1:]]
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise UserError(
                f"{self.where} has several rows for {few(repeated)}; expected one row for each "
                "image: add the counts of its rows, or remove all but one"
            )
        return names, values

    def _unreadable(self, why: str) -> UserError:
        return UserError(
            f"cannot read {self.where} ({' '.join(why.split())}); expected a text file in UTF-8 or "
            "an array of NumPy: check its content and its permissions"
        )


def _number(text: str) -> float:
    """Return the number that a text is; raise `ValueError` if it is one for Python's code alone."""
    if "_" in text or not text.isascii():
        raise ValueError
    return float(text)
