"""torchdistill's training box, configured as its sample configurations are, with its own loop.

The loop is that of its example for image classification: the box computes the loss and does the
step, a `MetricLogger` yields the batches and gets the loss of every step.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import RandomSampler
from torchdistill.core.distillation import get_distillation_box
from torchdistill.core.training import get_training_box
from torchdistill.misc.log import MetricLogger, SmoothedValue

from bench.peers.images import PILImages
from bench.peers.networks import contiguous
from soteacher.core.recipe import Recipe

FORWARD = "forward_batch_only"
CROSS_ENTROPY = {
    "criterion": {"key": "CrossEntropyLoss", "kwargs": {"reduction": "mean"}},
    "criterion_wrapper": {
        "key": "SimpleLossWrapper",
        "kwargs": {
            "input": {"is_from_teacher": False, "module_path": ".", "io": "output"},
            "target": {"uses_label": True},
        },
    },
    "weight": 1.0,
}


class Logits(nn.Module):
    """A network that returns its logits alone, as torchdistill's networks do."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, 3, H, W)."""
        return self.network(images).logits


class Box:
    """One network trained by torchdistill: a teacher, or a student by knowledge distillation.

    teacher : the frozen teacher of a student, or None.   ce : weight of the cross-entropy with the
    labels; the divergence of the softened predictions has the rest, 1 - ce.
    """

    def __init__(
        self,
        network: nn.Module,
        teacher: nn.Module | None,
        recipe: Recipe,
        images: PILImages,
        ce: float = 0.5,
        temperature: float = 4.0,
    ) -> None:
        config = self._config(recipe)
        device, model = torch.device("cpu"), Logits(contiguous(network))
        if teacher is None:
            config["model"] = {"forward_proc": FORWARD, "requires_grad": True}
            losses = {"ce": copy.deepcopy(CROSS_ENTROPY)}
        else:
            config["student"] = {"forward_proc": FORWARD, "requires_grad": True}
            config["teacher"] = {"forward_proc": FORWARD, "requires_grad": False}
            settings = {
                "student_module_path": ".",
                "student_module_io": "output",
                "teacher_module_path": ".",
                "teacher_module_io": "output",
                "temperature": temperature,
                "alpha": ce,
            }
            losses = {"kd": {"criterion": {"key": "KDLoss", "kwargs": settings}, "weight": 1.0}}
        config["criterion"] = {"key": "WeightedSumLoss", "kwargs": {"sub_terms": losses}}
        rest = ({"train": images}, config, device, None, False, 1)
        self._box = (
            get_training_box(model, *rest)
            if teacher is None
            else get_distillation_box(Logits(contiguous(teacher)).eval(), model, *rest)
        )
        self._logger = MetricLogger(delimiter="  ")
        self._logger.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
        self._logger.add_meter("img/s", SmoothedValue(window_size=10, fmt="{value}"))
        self._batches = self._epochs()

    @staticmethod
    def _config(recipe: Recipe) -> dict[str, Any]:
        """Return the configuration without networks and losses."""
        return {
            "num_epochs": recipe.epochs,
            "train_data_loader": {
                "dataset_id": "train",
                "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
                "kwargs": {"batch_size": recipe.batch, "num_workers": 0, "drop_last": False},
            },
            "optimizer": {
                "key": "SGD",
                "kwargs": {
                    "lr": recipe.lr_at(0),
                    "momentum": recipe.momentum,
                    "weight_decay": recipe.weight_decay,
                },
            },
            "scheduler": {
                "key": "MultiStepLR",
                "kwargs": {"milestones": [*recipe.decay_at], "gamma": recipe.decay},
            },
        }

    def _epochs(self) -> Iterator[Any]:
        epoch = 0
        while True:
            self._box.pre_epoch_process(epoch=epoch)
            yield from self._logger.log_every(self._box.train_data_loader, 500, f"Epoch [{epoch}]")
            epoch += 1

    def enter(self) -> None:
        """Set torch up as torchdistill's example does: kernels need not be deterministic."""
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(False)

    def steps(self, count: int) -> None:
        """Train for some steps."""
        for _ in range(count):
            images, labels, supplement = next(self._batches)
            started = time.time()
            loss = self._box.forward_process(images, labels, supplement)
            self._box.post_forward_process(loss=loss)
            rate = self._box.optimizer.param_groups[0]["lr"]
            self._logger.update(loss=loss.item(), lr=rate)
            self._logger.meters["img/s"].update(len(images) / (time.time() - started))
            if torch.isnan(loss) or torch.isinf(loss):
                raise ValueError(f"the loss of torchdistill's training is {loss.item()}")
