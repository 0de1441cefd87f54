"""The base class of all distillers, and functions that several distillers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from soteacher.core.errors import UserError
from soteacher.core.lazy import torch
from soteacher.core.registry import name_of
from soteacher.core.settings import Settings
from soteacher.terms import LossTerm, RunContext, cross_entropy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Features, Output

MapSizes = dict[str, tuple[int, int]]
"""Feature `stage1`, `stage2`, ... to the height and width of its map."""
Column = Literal["standard", "soteacher"]
"""A column of Table 5 of the paper: the teacher method that the weights are for."""


class Table5(Settings):
    """A weight as in Table 5 of the paper: one value for each way to train the teacher."""

    standard: float = Field(ge=0)
    """Weight for students of teachers trained with cross-entropy alone."""
    soteacher: float = Field(ge=0)
    """Weight for students of SoTeacher's teachers; in the paper it is mostly half as large."""


Weight = Annotated[float, Field(ge=0)] | Table5


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the Kullback-Leibler divergence of softened predictions: Hinton et al. 2015.

    T^2 * mean over B of sum over K of p_T log(p_T / p_S), p = softmax(logits / T): this is
    RepDistiller's reduction (sum over classes, mean over the batch). The factor T^2 keeps the scale
    of the gradients.

    student, teacher : Tensor, (B, K), logits; no gradient to the teacher.   Returns Tensor, ().
    Raises `UserError` if their shapes differ.
    """
    check_alike(student, teacher)
    return temperature**2 * torch.nn.functional.kl_div(
        (student / temperature).log_softmax(dim=1),
        (teacher.detach() / temperature).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )


def check_alike(student: Tensor, teacher: Tensor) -> None:
    """Raise `UserError` unless logits have one shape: torch would stretch others in silence."""
    if student.shape != teacher.shape:
        raise UserError(
            f"expected logits of the same images and classes; got {tuple(student.shape)} of the "
            f"student and {tuple(teacher.shape)} of the teacher"
        )


def directions(vectors: Tensor) -> Tensor:
    """Divide vectors (..., C) by their lengths; a vector of length 0 stays 0, without a gradient.

    `torch.nn.functional.normalize` would multiply the gradient of such a vector by 1e12.
    """
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.where(length > 1e-12, torch.inf)


def stages(context: RunContext) -> tuple[str, ...]:
    """Return the features `stage1`, `stage2`, ... of both student and teacher; at least one."""
    assert context.student_features is not None and context.teacher_features is not None
    common: tuple[str, ...] = ()
    while (name := f"stage{len(common) + 1}") in context.student_features.keys() & (
        context.teacher_features.keys()
    ):
        common += (name,)
    if not common:
        raise UserError(
            "this method matches the maps of student and teacher and needs the feature 'stage1'; "
            f"the student has {', '.join(context.student_features)}, "
            f"the teacher {', '.join(context.teacher_features)}"
        )
    return common


class Distiller(LossTerm):
    """ce * cross-entropy + kd * `kd_loss` + the losses of the method (Appendix D.2).

    If the method trains on several views of each image, cross-entropy and `kd_loss` use the first,
    upright view.
    """

    kind: ClassVar[str] = "distiller"
    ce: float = Field(1.0, ge=0)
    """Weight of the cross-entropy with the labels (gamma of Appendix D.2)."""
    kd: float = Field(1.0, ge=0)
    """Weight of the divergence of the softened predictions (alpha of Appendix D.2)."""
    temperature: float = Field(4.0, gt=0)
    """Temperature of the predictions of student and teacher in the divergence."""

    logits_only: ClassVar[bool] = False
    """Whether it uses nothing of its teacher but the logits of upright images after the last epoch.
    Only such a distiller can learn from a cross-fitted teacher. A subclass does not inherit it."""
    needs_logit_sizes: ClassVar[bool] = False
    """Whether its losses depend on how low the logit of a probability of 0 is. Such a distiller
    cannot learn from an oracle, which has no such number; other distillers of `logits_only` can."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Features that both networks must have, if not all networks have them. A study with a pair
    that lacks one is refused before anything is trained."""
    remark: ClassVar[str] = ""
    """A note for readers of its weight in a table; empty if none is needed."""

    @classmethod
    def weights(cls) -> tuple[str, ...]:
        """Return the names of the settings that are weights with a value per column of Table 5."""
        fields = cls.model_fields.items()
        return tuple(name for name, field in fields if isinstance(field.default, Table5))

    @classmethod
    def norm_maps(cls, student: MapSizes, teacher: MapSizes) -> tuple[tuple[int, int], ...]:
        """Return height and width of the maps that the method's own batch norms get in training.

        Maps of the size of one of the student's need not be in it. A study whose last batch has a
        single value of such a map is refused before anything is trained.
        """
        return ()

    def for_teacher(self, column: Column) -> Self:
        """Return the settings for students of one kind of teacher, with one number per weight."""
        values = ((name, getattr(self, name)) for name in self.weights())
        chosen = {name: getattr(v, column) for name, v in values if isinstance(v, Table5)}
        return self.model_copy(update=chosen)

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the two common losses and the losses of `method_losses`."""
        assert teacher is not None
        features = {name: value.detach() for name, value in teacher.features.items()}
        teacher = teacher._replace(logits=teacher.logits.detach(), features=features)
        upright = slice(len(batch.labels))
        divergence = kd_loss(output.logits[upright], teacher.logits[upright], self.temperature)
        method_losses = self.method_losses(batch, output, teacher, network)
        common = {"ce": self.ce * cross_entropy(batch, output), "kd": self.kd * divergence}
        return common | method_losses

    def method_losses(
        self, batch: Batch, output: Output, teacher: Output, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return name to weighted loss of the method; no gradient may flow to the teacher."""
        return {}

    def teacher_epoch(self, epoch: int, epochs: int, last: int) -> int:
        """Return the 1-based epoch of the teacher to use in a student's 0-based epoch.

        last : the teacher's last epoch.
        """
        return last

    def teacher_epochs(self, epochs: int, last: int) -> tuple[int, ...]:
        """Return `teacher_epoch` for every epoch of a student."""
        if type(self).teacher_epoch is Distiller.teacher_epoch:  # saves thousands of calls
            return (last,) * epochs
        return tuple(self.teacher_epoch(epoch, epochs, last) for epoch in range(epochs))


class FeatureDistiller(Distiller):
    """A distiller that adds one loss between features: weight * `feature_loss` (Appendix D.2).

    A subclass defines the two defaults of `weight`, from Table 5.
    """

    weight: Weight
    """Weight of the method's loss (beta of Table 5). The teacher method's `table5`
    selects the value."""

    def method_losses(
        self, batch: Batch, output: Output, teacher: Output, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the method's weighted loss, under the name of its file."""
        assert isinstance(self.weight, float), "a distiller is used after for_teacher"
        return {
            name_of(self): self.weight * self.feature_loss(batch, output.features, teacher.features)
        }

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the unweighted loss between features, (), without a gradient to the teacher."""
        raise NotImplementedError
