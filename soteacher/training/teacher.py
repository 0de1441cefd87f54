"""The frozen teacher of a distillation."""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from torch import nn

from soteacher.data.stream import Batch
from soteacher.models import catalogue
from soteacher.models.output import Output
from soteacher.training.moment import Stage
from soteacher.training.store import RunFolder, checkpoint_name


class FrozenTeacher:
    """A trained network in eval mode, without gradients, at the epoch that each batch asks for."""

    def __init__(
        self, folder: RunFolder, network: nn.Module, epochs: tuple[int, ...], last: int
    ) -> None:
        self._folder, self._network = folder, network.eval().requires_grad_(False)
        self._epochs, self._last = epochs, last
        self._loaded: int | None = None
        self.load(last)

    def __call__(self, batch: Batch) -> Output:
        """Predict a batch; `epochs` says whose weights serve which epoch of the main stage."""
        main = batch.at.stage == Stage.MAIN
        self.load(self._epochs[batch.at.epoch] if main else self._last)
        return self._network(batch.images)

    def load(self, epoch: int) -> nn.Module:
        """The network with its weights after a 1-based epoch of its own training."""
        if epoch != self._loaded:
            name = "weights.safetensors" if epoch == self._last else checkpoint_name(epoch)
            self._network.load_state_dict(load_file(self._folder.artifact(name)))
            self._loaded = epoch
        return self._network


def build(network: str, n_classes: int, device: str) -> nn.Module:
    """A network on a device, in the memory format that all training uses."""
    made = catalogue.build(network, n_classes)
    return made.to(device=device, memory_format=torch.channels_last)
