"""The frozen teacher of a distillation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from soteacher.core.batch import Batch
from soteacher.core.cursor import Stage
from soteacher.data.stream import Stream
from soteacher.models import catalogue
from soteacher.models.output import Output
from soteacher.store.run_folder import RunFolder, checkpoint_name
from soteacher.training.cross_fit import FoldNetworks
from soteacher.training.forward import forward


class FrozenTeacher:
    """A trained network in eval mode, without gradients, at the epoch that each batch needs."""

    def __init__(
        self,
        folder: RunFolder,
        network: nn.Module,
        epochs: dict[Stage, tuple[int, ...]],
        final: int,
        precision: str,
    ) -> None:
        self._folder, self.network = folder, network.eval().requires_grad_(False)
        self._epochs, self._final, self._precision = epochs, final, precision
        self._loaded: int | None = None

    def __call__(self, batch: Batch) -> Output:
        """Predict a batch; `epochs` gives the checkpoint for each stage and epoch."""
        epochs = self._epochs[batch.cursor.stage]
        self._load(epochs[min(batch.cursor.epoch, len(epochs) - 1)])
        return forward(self.network, batch.images, self._precision)

    def _load(self, epoch: int) -> None:
        if epoch != self._loaded:
            final = epoch == self._final
            name = "weights.safetensors" if final else checkpoint_name(epoch)
            self.network.load_state_dict(load_file(self._folder.artifact(name)))
            self._loaded = epoch


class OracleTeacher:
    """The logarithms of p* as logits, without features. A changed image keeps its image's p*."""

    def __init__(self, folder: RunFolder, device: str) -> None:
        logits = np.load(folder.artifact("train_logits.npy"))
        self._logits = torch.from_numpy(logits).to(device)

    def __call__(self, batch: Batch) -> Output:
        """Return the logits of a batch's images."""
        return Output(self._logits[batch.indices], {})


class OutOfFoldTeacher:
    """A cross-fitted teacher without features: the network of an image's fold predicts the image.

    folds : (N,) int64, the fold of each training image.
    stream : the students' batches. The order of an epoch is drawn again here, on the CPU: so the
        number of images of each fold in a batch is known without waiting for the device.
    """

    def __init__(
        self,
        folder: RunFolder,
        networks: FoldNetworks,
        folds: np.ndarray,
        stream: Stream,
        precision: str,
    ) -> None:
        networks.load_state_dict(load_file(folder.artifact("weights.safetensors")))
        self._networks = networks.eval().requires_grad_(False)
        self._folds, self._stream, self._precision = torch.from_numpy(folds), stream, precision
        self._drawn: dict[tuple[Stage, int], list[_ByFold]] = {}

    def __call__(self, batch: Batch) -> Output:
        """Return the logits of a batch's upright images."""
        cursor = batch.cursor
        if (cursor.stage, cursor.epoch) not in self._drawn:
            steps = self._draw(cursor.stage, cursor.epoch)
            self._drawn = {(cursor.stage, cursor.epoch): steps}
        by_fold = self._drawn[cursor.stage, cursor.epoch][cursor.step]
        parts = torch.split(batch.images[by_fold.sorted], by_fold.counts)
        logits = [
            forward(network, images, self._precision).logits
            for network, images in zip(self._networks.networks, parts, strict=True)
            if len(images)
        ]
        return Output(torch.cat(logits)[by_fold.back], {})

    def _draw(self, stage: Stage, epoch: int) -> list[_ByFold]:
        """Return the images of each fold in every batch of an epoch."""
        folds = torch.split(self._folds[self._stream.order(stage, epoch)], self._stream.batch_size)
        by_fold = [part.argsort(stable=True) for part in folds]
        sizes = [len(part) for part in folds]
        there, back = (
            torch.split(torch.cat(positions).to(self._stream.device), sizes)
            for positions in (by_fold, [part.argsort() for part in by_fold])
        )
        n_folds = len(self._networks.networks)
        counts = [part.bincount(minlength=n_folds).tolist() for part in folds]
        return [_ByFold(*step) for step in zip(there, back, counts, strict=True)]


class _ByFold(NamedTuple):
    """The images of one batch, sorted by their folds."""

    sorted: torch.Tensor
    """int64, (B,): positions in the batch."""
    back: torch.Tensor
    """int64, (B,): where the image of each position is among the sorted ones."""
    counts: list[int]
    """Number of images of each fold."""


def placed(module: nn.Module, device: str) -> nn.Module:
    """Move a module to a device, in the memory format that all training uses."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def build(network: str, n_classes: int, size: tuple[int, int], device: str) -> nn.Module:
    """Build a network for images of this height and width on a device.

    It has the memory format that all training uses.
    """
    return placed(catalogue.build(network, n_classes, size), device)
