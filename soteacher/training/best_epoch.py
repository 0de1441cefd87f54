"""The weights of the epoch with the least negative log-likelihood on held-out images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from soteacher.training.evaluate import Evaluator


class BestEpoch:
    """A copy of a network's weights after its best epoch, which ends its training early.

    The network is tested after each epoch on images that it is not trained on, in eval mode and
    without augmentation. Of equal epochs, the first is the best.

    rows : (n,) int64, the held-out rows of the training set.
    labels : int64, (N,), on the device: the labels of all training images. Where they are drawn
        from known distributions, the drawn ones are meant.
    """

    def __init__(
        self, network: nn.Module, evaluator: Evaluator, rows: np.ndarray, labels: Tensor
    ) -> None:
        self._network, self._evaluator = network, evaluator
        self._images = evaluator.train_images(rows)
        self._labels = labels[torch.from_numpy(rows).to(labels.device)]
        self._weights = {name: value.clone() for name, value in network.state_dict().items()}
        self._epoch = torch.zeros((), dtype=torch.int64, device=labels.device)
        self._nll = torch.zeros((), dtype=torch.float64, device=labels.device)

    @property
    def epoch(self) -> int:
        """The 1-based epoch of the kept weights; 0 before the end of the first epoch."""
        return int(self._epoch)

    @property
    def nll(self) -> float:
        """The mean negative log-likelihood of the held-out labels with these weights, in nats."""
        return float(self._nll)

    def end_epoch(self, epoch: int) -> float:
        """Keep the weights after a 0-based epoch if they are the best; return their NLL."""
        logits = self._evaluator.forward(self._network, self._images)
        nll = torch.nn.functional.cross_entropy(logits.double(), self._labels)
        if self.epoch == 0 or bool(nll < self._nll):
            self._nll.copy_(nll)
            self._epoch.fill_(epoch + 1)
            for name, value in self._network.state_dict().items():
                self._weights[name].copy_(value)
        return nll.item()

    def restore(self) -> None:
        """Give the network the kept weights."""
        self._network.load_state_dict(self._weights)

    def buffers(self) -> dict[str, Tensor]:
        """Return what a saved state must hold, by name."""
        weights = {f"best.{name}": value for name, value in self._weights.items()}
        return {"best_epoch": self._epoch, "best_nll": self._nll} | weights
