"""One network in training: its steps and its epochs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.precisions import FLOAT32
from soteacher.core.recipe import Recipe
from soteacher.data.stream import Stream
from soteacher.models.output import Output
from soteacher.store.run_folder import RunFolder, checkpoint_name
from soteacher.terms import CrossEntropy, LossTerm, Preparation
from soteacher.training.best_epoch import BestEpoch
from soteacher.training.evaluate import BATCH, Evaluator
from soteacher.training.forward import forward
from soteacher.training.sgd import SGD
from soteacher.training.watchers import Watchers
from soteacher.training.writers import weights_writer

log = logging.getLogger("soteacher")

PLAIN: list[LossTerm] = [CrossEntropy()]
"""The loss terms of a teacher before it is fine-tuned."""


class Diverged(Exception):
    """A loss or a weight is no longer finite."""

    def __init__(self, where: dict[str, Any]) -> None:
        super().__init__(str(where))
        self.where = where


class Learner:
    """Trains one network or, without `network`, the modules of a preparation of the teacher.

    A learner trains on a batch only if its `cursor` equals the batch's, and changes nothing that it
    shares with another learner: its result is bit-identical alone or with others.
    """

    def __init__(
        self,
        folder: RunFolder,
        recipe: Recipe,
        stream: Stream,
        network: nn.Module | None,
        terms: list[LossTerm],
        modules: dict[str, nn.Module],
        preparation: Preparation | None,
        evaluator: Evaluator | None,
        precision: str = FLOAT32,
        best: BestEpoch | None = None,
        seeded_step: Callable[[Cursor], AbstractContextManager[None]] | None = None,
    ) -> None:
        """Create a learner at the beginning of its first stage.

        seeded_step : gives a network from outside its random numbers of one step; None: the network
        draws none.
        """
        self.folder, self.recipe, self.stream = folder, recipe, stream
        self.network, self.terms, self.modules = network, terms, modules
        self.preparation, self.evaluator = preparation, evaluator
        self._precision, self.best, self._seeded_step = precision, best, seeded_step
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        """Wall-clock time of training in all attempts, up to the end of the last epoch."""
        self.images_per_second: float | None = None
        """Rate of the last epoch in wall-clock time, which other learners of the pass share; None
        before the end of the first epoch."""
        self.watchers: Watchers | None = None
        """What is told about each epoch; nothing of it changes the training."""
        self.checkpoints: dict[str, str] = {}
        """Name to sha256 of the checkpoints that are written."""
        self.epoch_losses: dict[str, Tensor] = {}
        self.n_correct = torch.zeros((), dtype=torch.float64, device=stream.device)
        prepared = preparation.modules if preparation else {}
        self.parts = nn.ModuleDict({**modules, **prepared})
        if network is not None:
            self.parts["network"] = network
        self._of_weights: set[str] = set()
        """Names of the losses of the last step that depend on the weights alone."""
        self._images, self._started = 0, 0.0
        first = Stage.MAIN if preparation is None else Stage.PREPARE
        self.enter(Cursor(first, 0, 0))

    def epochs(self, stage: Stage) -> int:
        """Return the number of epochs of a stage."""
        if stage == Stage.PREPARE:
            return self.preparation.epochs if self.preparation else 0
        return self.recipe.epochs if self.network is not None and stage == Stage.MAIN else 0

    def step(self, batch: Batch, teacher: Output | None) -> None:
        """Do one training step; it does not wait for the device."""
        if self._images == 0:  # a learner may wait for others before its epoch starts
            self._started = time.perf_counter()
        self.optimizer.zero_grad()
        losses = self.learn(batch, teacher)
        self.optimizer.step()
        for name, loss in losses.items():
            if name not in self.epoch_losses:
                self.epoch_losses[name] = torch.zeros(self.stream.steps, device=self.stream.device)
            self.epoch_losses[name][batch.cursor.step] = loss.detach()
        self._images += len(batch.labels)
        if batch.cursor.step + 1 < self.stream.steps:
            self.cursor = Cursor(batch.cursor.stage, batch.cursor.epoch, batch.cursor.step + 1)
        else:
            self._end_epoch(batch.cursor)

    @property
    def n_trained(self) -> int:
        """The number of images that are trained on in an epoch."""
        return self.stream.n_images

    def learn(self, batch: Batch, teacher: Output | None) -> dict[str, Tensor]:
        """Compute the gradients of a batch, and count correct predictions; return the losses."""
        with self._seeded_step(batch.cursor) if self._seeded_step else nullcontext():
            output = self.output(batch)
            losses = self.losses(batch, output, teacher)
        self._backward(losses)
        if output is not None:
            self.n_correct += _correct(output.logits.detach(), batch)
        return losses

    def logits(self, split: str) -> np.ndarray:
        """Return the network's logits of the images of a split, (N, K) float32."""
        assert self.network is not None and self.evaluator is not None
        return self.evaluator.logits(self.network, split)

    def end_epoch_of_terms(self, epoch: int) -> None:
        """Let the loss terms do what is due after a 0-based epoch."""
        own = epoch - self.recipe.terms_from
        for term in self.terms if own >= 0 else []:
            term.end_epoch(own)
        taking = [term for term in self.terms if term.takes_train_logits]
        if taking and own >= -1 and epoch + 1 < self.recipe.epochs:
            assert self.network is not None and self.evaluator is not None
            images = self.stream.plain_images(BATCH)
            logits = torch.cat([self.evaluator.forward(self.network, part) for part in images])
            for term in taking:
                term.take_train_logits(logits, self.stream.own_labels)

    def output(self, batch: Batch) -> Output | None:
        """Return the network's output for a batch, or None without a network."""
        if self.network is None:
            return None
        return forward(self.network, batch.images, self._precision)

    def losses(
        self, batch: Batch, output: Output | None, teacher: Output | None
    ) -> dict[str, Tensor]:
        """Return the named losses of a batch, which loss terms may remember."""
        if batch.cursor.stage == Stage.PREPARE:
            assert self.preparation is not None
            return self.preparation.loss(batch, output, teacher)
        assert self.network is not None and output is not None
        losses: dict[str, Tensor] = {}
        terms = self.terms
        if first := self.recipe.terms_from:  # the network is fine-tuned with its terms
            at = replace(batch.cursor, epoch=batch.cursor.epoch - first)
            terms, batch = (terms, replace(batch, cursor=at)) if at.epoch >= 0 else (PLAIN, batch)
        for term in terms:
            batch = term.retarget(batch)
        self._of_weights = set()
        for term in terms:
            named = term.losses(batch, output, teacher, self.network)
            losses |= named
            if term.of_weights:
                self._of_weights |= named.keys()
        return losses

    def _backward(self, losses: dict[str, Tensor]) -> None:
        """Compute the gradients of the sum of the losses.

        Those of losses of the weights alone are added to the others by one operation on lists.
        Autograd would add them weight by weight, to the same bits: some 80 operations more.
        """
        of_weights = [loss for name, loss in losses.items() if name in self._of_weights]
        others = [loss for name, loss in losses.items() if name not in self._of_weights]
        reduce(add, others).backward()  # type: ignore[no-untyped-call]
        if any(loss.requires_grad for loss in of_weights):  # a method may pause, with a constant
            parameters = [p for p in self.parameters() if p.requires_grad]
            found = torch.autograd.grad(reduce(add, of_weights), parameters, allow_unused=True)
            pairs = [(p, g) for p, g in zip(parameters, found, strict=True) if g is not None]
            sums = [(p.grad, g) for p, g in pairs if p.grad is not None]
            for parameter, gradient in pairs:
                if parameter.grad is None:  # the kernel of SGD needs the parameter's strides
                    parameter.grad = torch.empty_like(parameter).copy_(gradient)
            torch._foreach_add_([grad for grad, _ in sums], [gradient for _, gradient in sums])

    def check_finite(self, steps: int) -> None:
        """Raise `Diverged` if a loss of this epoch's first `steps` steps is not finite."""
        if self.epoch_losses:
            names = list(self.epoch_losses)
            losses = torch.stack([self.epoch_losses[name][:steps] for name in names]).cpu()
            bad = ~losses.isfinite()
            if bad.any():
                step = int(bad.any(dim=0).nonzero()[0])
                terms = {name: repr(losses[i, step].item()) for i, name in enumerate(names)}
                raise Diverged({"epoch": self.cursor.epoch + 1, "step": step + 1, "terms": terms})

    def finite_weights(self) -> bool:
        """Return whether all weights are finite; if not, the next loss or epoch's end raises."""
        finite = [value.isfinite().all() for value in self.values().values()]
        return all(torch.stack(finite).tolist())

    def _end_epoch(self, cursor: Cursor) -> None:
        self.check_finite(self.stream.steps)
        stage, epoch = cursor.stage, cursor.epoch
        if not self.finite_weights():
            where = {"epoch": epoch + 1, "step": self.stream.steps, "terms": {"weights": "nan"}}
            raise Diverged(where)
        row: dict[str, Any] = {
            "stage": stage.name.lower(),
            "epoch": epoch + 1,
            "lr": self.optimizer.lr,
        }
        if self.network is not None:
            row["train_top1"] = self.n_correct.item() / self.n_trained
        if stage == Stage.MAIN:
            assert self.network is not None and self.evaluator is not None
            self.end_epoch_of_terms(epoch)
            if self.best is not None or self.recipe.is_tested(epoch):
                row["test_top1"] = self.evaluator.top1(self.network)
            if self.best is not None:
                nll = row["held_out_nll"] = self.best.end_epoch(epoch)
                if not math.isfinite(nll):
                    where = {"epoch": epoch + 1, "step": self.stream.steps}
                    raise Diverged(where | {"terms": {"held_out_nll": repr(nll)}})
            every = self.recipe.keep_every
            if every and (epoch + 1) % every == 0 and epoch + 1 < self.recipe.epochs:
                name = checkpoint_name(epoch + 1)
                self.checkpoints[name] = self.folder.write(name, weights_writer(self.network))
        row |= {f"loss_{name}": value.mean().item() for name, value in self.epoch_losses.items()}
        self.history.append(row)
        self._report(row)
        if self.watchers is not None:
            self.watchers.end_epoch(self.history)
        self.epoch_losses.clear()
        self.n_correct.zero_()
        if epoch + 1 < self.epochs(stage):
            self.enter(Cursor(stage, epoch + 1, 0))
        elif stage == Stage.PREPARE and self.network is not None:
            self.enter(Cursor(Stage.MAIN, 0, 0))
        else:
            if self.best is not None:
                self.best.restore()
            self.cursor = Cursor(Stage.END, 0, 0)

    def _report(self, row: dict[str, Any]) -> None:
        seconds = time.perf_counter() - self._started
        self.seconds += seconds
        self.images_per_second = self._images / seconds
        facts = " ".join(f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, float))
        log.debug(
            "%s: %s epoch %d/%d %s, %.0f images/s",
            self.folder.id,
            row["stage"],
            row["epoch"],
            self.epochs(Stage[row["stage"].upper()]),
            facts,
            self.images_per_second,
        )

    def enter(self, cursor: Cursor) -> None:
        """Set the cursor, and the optimizer, learning rate and modes of its stage and epoch."""
        if cursor.epoch == 0 and cursor.step == 0:
            self.optimizer = self._new_optimizer(cursor.stage)
        self.cursor = cursor
        self._images = 0
        self.optimizer.lr = self._lr(cursor)
        self.parts.train(cursor.stage != Stage.PREPARE)
        if cursor.stage == Stage.PREPARE:
            for module in self._trained(cursor.stage):
                module.train()

    def _lr(self, cursor: Cursor) -> float:
        if cursor.stage == Stage.MAIN:
            return self.recipe.lr_at(cursor.epoch)
        assert self.preparation is not None
        if self.preparation.lr is None:
            return self.recipe.lr_at(0)
        return self.preparation.lr(cursor.epoch)

    def _trained(self, stage: Stage) -> list[nn.Module]:
        """Return the modules that a stage trains."""
        if stage == Stage.PREPARE:
            assert self.preparation is not None
            return [*self.preparation.modules.values()]
        assert self.network is not None
        return [*self.modules.values(), self.network]

    def _new_optimizer(self, stage: Stage) -> SGD:
        parameters = {p: None for module in self._trained(stage) for p in module.parameters()}
        return SGD(parameters, self.recipe.momentum, self.recipe.weight_decay)

    def values(self) -> dict[str, Tensor]:
        """Return every parameter and buffer once; a preparation may train parts of the network."""
        return dict([*self.parts.named_parameters(), *self.parts.named_buffers()])

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the optimizer, in its order."""
        return self.optimizer.parameters

    def buffers(self) -> dict[str, Tensor]:
        """Return the tensors that loss terms keep from step to step, and the best weights."""
        of_terms = {
            f"{index}.{name}": value
            for index, term in enumerate(self.terms)
            for name, value in term.buffers().items()
        }
        return of_terms | (self.best.buffers() if self.best else {})

    def kept_bytes(self) -> int:
        """Return the bytes of the loss terms' buffers and modules."""
        modules = nn.ModuleDict(self.modules).state_dict()
        return sum(value.nbytes for value in [*self.buffers().values(), *modules.values()])


def _correct(logits: Tensor, batch: Batch) -> Tensor:
    """Return the number of correct first views; a blended image counts with its target's share."""
    predicted = logits[: len(batch.labels)].argmax(dim=1)
    if batch.targets is None:
        return (predicted == batch.labels).sum()
    return batch.targets.gather(1, predicted[:, None]).sum(dtype=torch.float64)
