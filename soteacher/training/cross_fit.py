"""Cross-fitted teachers: one network per fold of the training images, which never sees the fold.

Dao et al. 2021, arXiv 2104.09732: a student gets the prediction of each training image from the
network that was not trained on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from soteacher.core.batch import Batch
from soteacher.models.output import Output
from soteacher.training.learner import Learner


class FoldNetworks(nn.Module):
    """The networks of all folds: their mean prediction, for images that none of them has seen."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Output:
        """Return the logarithm of the mean of the networks' probabilities, without features."""
        logs = [network(images).logits.log_softmax(dim=1) for network in self.networks]
        return Output(torch.stack(logs).logsumexp(dim=0) - np.log(len(logs)), {})


class CrossFitLearner(Learner):
    """Trains the networks of all folds in turn, each in every step on a batch of its own images.

    The pass makes the batches of the last fold's network, which has the most images. The steps of
    an epoch are its steps; a network with fewer images may have one step less.

    fold_learners : the learner of each fold's network, on its own stream of batches. Their states
        are not used: their parameters, buffers and counts belong to this learner.
    folds : (N,) int64, the fold of each training image.
    """

    def __init__(self, fold_learners: list[Learner], folds: np.ndarray, **settings: Any) -> None:
        self._learners, self._folds = fold_learners, folds
        networks = [one.network for one in fold_learners if one.network is not None]
        modules = {
            f"fold{fold}_{name}": module
            for fold, one in enumerate(fold_learners)
            for name, module in one.modules.items()
        }
        super().__init__(
            network=FoldNetworks(networks),
            terms=[term for one in fold_learners for term in one.terms],
            modules=modules,
            **settings,
        )

    @property
    def n_trained(self) -> int:
        """The number of images that the networks together are trained on in an epoch."""
        return sum(one.stream.n_images for one in self._learners)

    def learn(self, batch: Batch, teacher: Output | None) -> dict[str, Tensor]:
        """Add the gradients of every fold's network; return the means of their losses."""
        found: dict[str, list[Tensor]] = {}
        for one in self._learners:
            if batch.cursor.step < one.stream.steps:
                own = batch if one.stream is self.stream else one.stream.batch(batch.cursor)
                for name, loss in one.learn(own, teacher).items():
                    found.setdefault(name, []).append(loss.detach())
                self.n_correct += one.n_correct
                one.n_correct.zero_()
        return {name: torch.stack(losses).mean() for name, losses in found.items()}

    def end_epoch_of_terms(self, epoch: int) -> None:
        """Let the loss terms of every fold's network do what is due after an epoch."""
        for one in self._learners:
            one.end_epoch_of_terms(epoch)

    def output(self, batch: Batch) -> Output | None:
        """Return the output of the last fold's network, whose batches the pass makes."""
        return self._learners[-1].output(batch)

    def losses(
        self, batch: Batch, output: Output | None, teacher: Output | None
    ) -> dict[str, Tensor]:
        """Return the losses of the last fold's network, whose batches the pass makes."""
        return self._learners[-1].losses(batch, output, teacher)

    def logits(self, split: str) -> np.ndarray:
        """Return logits as `Learner.logits`; of training images, those that students see."""
        if split != "train":
            return super().logits(split)
        assert self.evaluator is not None
        found: dict[int, np.ndarray] = {}
        for fold, one in enumerate(self._learners):
            assert one.network is not None
            rows = np.flatnonzero(self._folds == fold)
            logits = self.evaluator.forward(one.network, self.evaluator.train_images(rows))
            found |= zip(rows.tolist(), logits.cpu().numpy(), strict=True)
        return np.stack([found[row] for row in range(len(self._folds))])
