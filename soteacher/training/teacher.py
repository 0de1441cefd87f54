"""The frozen teacher of a distillation."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from soteacher.core.batch import Batch
from soteacher.core.cursor import Stage
from soteacher.models import catalogue
from soteacher.models.output import Output
from soteacher.store.run_folder import RunFolder, checkpoint_name
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


def placed(module: nn.Module, device: str) -> nn.Module:
    """Move a module to a device, in the memory format that all training uses."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def build(network: str, n_classes: int, size: tuple[int, int], device: str) -> nn.Module:
    """Build a network for images of this height and width on a device.

    It has the memory format that all training uses.
    """
    return placed(catalogue.build(network, n_classes, size), device)
