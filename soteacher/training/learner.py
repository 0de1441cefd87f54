"""One network in training: its steps, its epochs, its state."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from soteacher import files
from soteacher.data.prepared import Prepared
from soteacher.data.stream import Batch, Stream
from soteacher.errors import UserError
from soteacher.models.output import Output
from soteacher.study.schema import Recipe
from soteacher.terms import LossTerm, Preparation
from soteacher.training.evaluate import Evaluator
from soteacher.training.moment import Moment, Stage
from soteacher.training.store import RunFolder, checkpoint_name

log = logging.getLogger("soteacher")


class Diverged(Exception):
    """A loss or a weight is no longer finite."""

    def __init__(self, where: dict[str, Any]) -> None:
        super().__init__(str(where))
        self.where = where


class Learner:
    """Trains one network (or, without `network`, what a teacher-side preparation trains).

    A learner stands at a `cursor`, takes only the batch of that moment, and touches nothing that
    it shares with another: in company it trains to the same bits as alone.
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
    ) -> None:
        self.folder, self.recipe, self.stream = folder, recipe, stream
        self.network, self.terms, self.modules = network, terms, modules
        self.preparation, self.evaluator = preparation, evaluator
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        """Wall-clock time of training so far, all attempts together, to the last epoch's end."""
        self.images_per_second: float | None = None
        """In the last epoch, wall-clock, company included; None before its end."""
        self._losses: dict[str, Tensor] = {}
        self._correct = torch.zeros((), dtype=torch.float64, device=stream.device)
        prepared = preparation.modules if preparation else {}
        self._parts = nn.ModuleDict({**modules, **prepared})
        if network is not None:
            self._parts["network"] = network
        first = Stage.MAIN if preparation is None else Stage.PREPARE
        self.enter(Moment(first, 0, 0))

    # -- training ---------------------------------------------------------------------------

    def epochs(self, stage: Stage) -> int:
        """Number of epochs of a stage."""
        if stage == Stage.PREPARE:
            return self.preparation.epochs if self.preparation else 0
        return self.recipe.epochs if self.network is not None and stage == Stage.MAIN else 0

    def step(self, batch: Batch, teacher: Output | None) -> None:
        """Take one training step; nothing here waits for the device."""
        if self._images == 0:  # a learner may wait for others before its epoch begins
            self._started = time.perf_counter()
        output = None if self.network is None else self.network(batch.images)
        if batch.at.stage == Stage.PREPARE:
            losses = self.preparation.loss(batch, output, teacher)
        else:
            losses = {}
            targeted = batch
            for term in self.terms:
                targeted = term.retarget(targeted)
            for term in self.terms:
                losses |= term.losses(targeted, output, teacher, self.network)
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        self.optimizer.step()
        for name, loss in losses.items():
            if name not in self._losses:
                self._losses[name] = torch.zeros(self.stream.steps, device=self.stream.device)
            self._losses[name][batch.at.step] = loss.detach()
        if output is not None:
            self._correct += _correct(output.logits.detach(), batch)
        self._images += len(batch.labels)
        if batch.at.step + 1 < self.stream.steps:
            self.cursor = Moment(batch.at.stage, batch.at.epoch, batch.at.step + 1)
        else:
            self._end_epoch(batch.at)

    def check_finite(self, steps: int) -> None:
        """Raise `Diverged` if a loss of this epoch's first `steps` steps is not finite."""
        if self._losses:
            names = list(self._losses)
            losses = torch.stack([self._losses[name][:steps] for name in names]).cpu()
            bad = ~losses.isfinite()
            if bad.any():
                step = int(bad.any(dim=0).nonzero()[0])
                terms = {name: repr(losses[i, step].item()) for i, name in enumerate(names)}
                raise Diverged({"epoch": self.cursor.epoch + 1, "step": step + 1, "terms": terms})

    def finite_weights(self) -> bool:
        """Whether all weights are finite: if not, the next loss will tell, or the epoch's end."""
        finite = [value.isfinite().all() for value in self._values().values()]
        return all(torch.stack(finite).tolist())

    def _end_epoch(self, at: Moment) -> None:
        self.check_finite(self.stream.steps)
        if not self.finite_weights():
            where = {"epoch": at.epoch + 1, "step": self.stream.steps, "terms": {"weights": "nan"}}
            raise Diverged(where)
        row: dict[str, Any] = {
            "stage": at.stage.name.lower(),
            "epoch": at.epoch + 1,
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        if self.network is not None:
            row["train_top1"] = self._correct.item() / self.stream.n_images
        if at.stage == Stage.MAIN:
            for term in self.terms:
                term.end_epoch(at.epoch)
            row["test_top1"] = self.evaluator.top1(self.network)
            every = self.recipe.keep_every
            if every and (at.epoch + 1) % every == 0 and at.epoch + 1 < self.recipe.epochs:
                path = self.folder.path / checkpoint_name(at.epoch + 1)
                files.write(path, _writer(self.network))
        row |= {f"loss_{name}": value.mean().item() for name, value in self._losses.items()}
        self.history.append(row)
        self._report(row)
        self._losses.clear()
        self._correct.zero_()
        if at.epoch + 1 < self.epochs(at.stage):
            self.enter(Moment(at.stage, at.epoch + 1, 0))
        elif at.stage == Stage.PREPARE and self.network is not None:
            self.enter(Moment(Stage.MAIN, 0, 0))
        else:
            self.cursor = Moment(Stage.END, 0, 0)

    def _report(self, row: dict[str, Any]) -> None:
        seconds = time.perf_counter() - self._started
        self.seconds += seconds
        self.images_per_second = self._images / seconds
        facts = " ".join(f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, float))
        log.info(
            "%s: %s epoch %d/%d %s, %.0f images/s",
            self.folder.id,
            row["stage"],
            row["epoch"],
            self.epochs(Stage[row["stage"].upper()]),
            facts,
            self.images_per_second,
        )

    def enter(self, moment: Moment) -> None:
        """Stand at a moment: the optimizer, learning rate and modes of its stage and epoch."""
        if moment.epoch == 0 and moment.step == 0:
            self.optimizer = self._make_optimizer(moment.stage)
        self.cursor = moment
        self._images = 0
        preparing = moment.stage == Stage.PREPARE
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(moment)
        self._parts.train(not preparing)
        for module in self.preparation.modules.values() if preparing else ():
            module.train()

    def _lr(self, moment: Moment) -> float:
        if moment.stage == Stage.MAIN:
            return self.recipe.lr_at(moment.epoch)
        if self.preparation.lr is None:
            return self.recipe.lr_at(0)
        return self.preparation.lr(moment.epoch)

    def _make_optimizer(self, stage: Stage) -> torch.optim.Optimizer:
        preparing = stage == Stage.PREPARE
        trained = self.preparation.modules if preparing else {**self.modules, "": self.network}
        parameters = {p: None for module in trained.values() for p in module.parameters()}
        return torch.optim.SGD(
            list(parameters),
            lr=0.0,
            momentum=self.recipe.momentum,
            weight_decay=self.recipe.weight_decay,
            fused=True,
        )

    # -- state ------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the state into the store, unless it is not finite: the last good one is kept.

        When a state is saved depends on the clock, what is recorded of a divergence must not: a
        loss that is not finite raises `Diverged`, weights alone wait for the loss they make.
        """
        self.check_finite(self.cursor.step)
        if not self.finite_weights():
            return
        tensors = {f"parts.{name}": value.detach() for name, value in self._values().items()}
        for index, parameter in enumerate(self._parameters()):
            momentum = self.optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{index}"] = momentum
        for name, value in self._buffers().items():
            tensors[f"buffer.{name}"] = value
        tensors |= {f"losses.{name}": value for name, value in self._losses.items()}
        tensors["correct"] = self._correct
        at = self.cursor
        info = {
            "cursor": [at.stage.name, at.epoch, at.step],
            "history": self.history,
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
            "epochs": self.epochs(at.stage),
            "images_left": self._images_left(),
        }
        self.folder.save_state(tensors, info)

    def _images_left(self) -> int:
        """From the cursor to the end of all stages."""
        at = self.cursor
        epochs = sum(self.epochs(stage) for stage in Stage if stage >= at.stage) - at.epoch
        return epochs * self.stream.n_images - at.step * self.stream.batch_size

    def resume(self) -> None:
        """Go on from the last state in the store; where there is none, save the first."""
        state = self.folder.load_state()
        if state is None:
            self.save()
            return
        tensors, info = state
        stage, epoch, step = info["cursor"]
        self.history, self.seconds = info["history"], info["seconds"]
        self.images_per_second = info["images_per_second"]
        if Stage[stage] != self.cursor.stage:
            self.enter(Moment(Stage[stage], 0, 0))
        self.enter(Moment(Stage[stage], epoch, step))
        expected = {f"parts.{name}" for name in self._values()} | {"correct"}
        if missing := (expected | {f"buffer.{name}" for name in self._buffers()}) - tensors.keys():
            raise UserError(
                f"the state of {self.folder.id} in {self.folder.path} was saved by another version "
                f"of soteacher: it lacks {', '.join(sorted(missing)[:3])}; delete the run with "
                f"`soteacher forget {self.folder.path.name[:12]}`, and it begins anew"
            )
        with torch.no_grad():
            for name, value in self._values().items():
                value.copy_(tensors[f"parts.{name}"])
            for index, parameter in enumerate(self._parameters()):
                if f"momentum.{index}" in tensors:
                    # empty_like keeps the parameter's strides, which fused SGD takes for granted
                    momentum = torch.empty_like(parameter).copy_(tensors[f"momentum.{index}"])
                    self.optimizer.state[parameter]["momentum_buffer"] = momentum
            for name, value in self._buffers().items():
                value.copy_(tensors[f"buffer.{name}"])
            self._correct.copy_(tensors["correct"])
        for name, value in tensors.items():
            if name.startswith("losses."):
                self._losses[name.removeprefix("losses.")] = value.to(self.stream.device)

    def _values(self) -> dict[str, Tensor]:
        """Every parameter and buffer once: a preparation may train parts of the network."""
        return dict([*self._parts.named_parameters(), *self._parts.named_buffers()])

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _buffers(self) -> dict[str, Tensor]:
        return {
            f"{index}.{name}": value
            for index, term in enumerate(self.terms)
            for name, value in term.buffers().items()
        }

    def kept_bytes(self) -> int:
        """What the terms hold besides network and optimiser: their buffers and modules."""
        modules = nn.ModuleDict(self.modules).state_dict()
        return sum(value.nbytes for value in [*self._buffers().values(), *modules.values()])

    # -- results ----------------------------------------------------------------------------

    def histories(self) -> dict[str, Callable[[BinaryIO], object]]:
        """What every run leaves, a diverged one too: its finished epochs, a row each."""
        return {"history.csv": _write_history(self.history)}

    def artifacts(self, data: Prepared) -> dict[str, Callable[[BinaryIO], object]]:
        """What a finished run leaves: weights, logits, history; name to writer."""
        made = self.histories()
        if self.network is None:
            return made | {"weights.safetensors": _writer(self._parts)}
        made["weights.safetensors"] = _writer(self.network)
        splits = ("test", "train") if data.has_truth else ("test",)
        for split in splits:
            logits = self.evaluator.logits(self.network, split)
            made[f"{split}_logits.npy"] = lambda file, logits=logits: np.save(file, logits)
        return made


def _correct(logits: Tensor, batch: Batch) -> Tensor:
    """How many images are predicted right at first view; of a blend, each label has its share."""
    predicted = logits[: len(batch.labels)].argmax(dim=1)
    if batch.targets is None:
        return (predicted == batch.labels).sum()
    return batch.targets.gather(1, predicted[:, None]).sum(dtype=torch.float64)


def _writer(module: nn.Module) -> Callable[[BinaryIO], object]:
    tensors = {name: value.contiguous().cpu() for name, value in module.state_dict().items()}
    return lambda file: file.write(save(tensors))


def _write_history(history: list[dict[str, Any]]) -> Callable[[BinaryIO], object]:
    first = ["stage", "epoch", "lr", "train_top1", "test_top1"]
    names = {name for row in history for name in row}
    columns = [name for name in first if name in names] + sorted(names - {*first})
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return lambda file: file.write(text.getvalue().encode())
