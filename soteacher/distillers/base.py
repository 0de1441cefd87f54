"""The base of every distiller, and what several of them share."""

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

Column = Literal["standard", "soteacher"]
"""A column of Table 5 of the paper: whose teachers' students have these weights."""


class Table5(Settings):
    """A weight as Table 5 of the paper gives them: one for each way to train the teacher."""

    standard: float = Field(ge=0)
    """For students of teachers trained as usual."""
    soteacher: float = Field(ge=0)
    """For students of SoTeacher's teachers; in the paper mostly half as much."""


Weight = Annotated[float, Field(ge=0)] | Table5


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of softened predictions: Hinton et al. 2015.

    T^2 * mean over B of sum over K of p_T log(p_T / p_S), p = softmax(logits / T): RepDistiller's
    reduction (sum over classes, mean over the batch), with the T^2 that keeps gradients in scale.

    student, teacher : Tensor, (B, K), logits; no gradient to the teacher.   Returns Tensor, ().
    """
    return temperature**2 * torch.nn.functional.kl_div(
        (student / temperature).log_softmax(dim=1),
        (teacher.detach() / temperature).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )


def directions(vectors: Tensor) -> Tensor:
    """Vectors (..., C), each over its length; one of length 0 stays 0, without a gradient.

    `torch.nn.functional.normalize` would multiply the gradient there by 1e12.
    """
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.where(length > 1e-12, torch.inf)


def stages(context: RunContext) -> tuple[str, ...]:
    """The features `stage1`, `stage2`, ... that student and teacher both have; at least one."""
    assert context.student_features is not None and context.teacher_features is not None
    common: tuple[str, ...] = ()
    while (name := f"stage{len(common) + 1}") in context.student_features.keys() & (
        context.teacher_features.keys()
    ):
        common += (name,)
    if not common:
        raise UserError(
            "expected a feature 'stage1' of student and teacher, whose maps this method matches; "
            f"the student has {', '.join(context.student_features)}, "
            f"the teacher {', '.join(context.teacher_features)}"
        )
    return common


class Distiller(LossTerm):
    """ce * cross-entropy + kd * `kd_loss` + what the method itself adds (Appendix D.2).

    Where the method trains on several views of each image, these two count the first, upright one.
    """

    ce: float = Field(1.0, ge=0)
    """Weight of the cross-entropy with the labels (gamma of Appendix D.2)."""
    kd: float = Field(1.0, ge=0)
    """Weight of the softened predictions' divergence (alpha of Appendix D.2)."""
    temperature: float = Field(4.0, gt=0)
    """Temperature of both predictions in the divergence."""

    remark: ClassVar[str] = ""
    """What a reader of its weight in a table must know, if anything."""

    @classmethod
    def weights(cls) -> tuple[str, ...]:
        """The settings that are weights by column of Table 5."""
        fields = cls.model_fields.items()
        return tuple(name for name, field in fields if isinstance(field.default, Table5))

    def for_teacher(self, column: Column) -> Self:
        """These settings for the students of one kind of teacher: each weight is one number."""
        values = ((name, getattr(self, name)) for name in self.weights())
        chosen = {name: getattr(v, column) for name, v in values if isinstance(v, Table5)}
        return self.model_copy(update=chosen)

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the two common losses and those of `method_losses`."""
        assert teacher is not None
        features = {name: value.detach() for name, value in teacher.features.items()}
        teacher = teacher._replace(logits=teacher.logits.detach(), features=features)
        upright = slice(len(batch.labels))
        divergence = kd_loss(output.logits[upright], teacher.logits[upright], self.temperature)
        own = self.method_losses(batch, output, teacher, network)
        return {"ce": self.ce * cross_entropy(batch, output), "kd": self.kd * divergence, **own}

    def method_losses(
        self, batch: Batch, output: Output, teacher: Output, network: nn.Module
    ) -> dict[str, Tensor]:
        """Named, weighted losses of the method beyond the common two; nothing to the teacher."""
        return {}

    def teacher_epoch(self, epoch: int, epochs: int, last: int) -> int:
        """Which 1-based epoch's teacher serves a 0-based student epoch; `last` is the final one."""
        return last

    def teacher_epochs(self, epochs: int, last: int) -> tuple[int, ...]:
        """`teacher_epoch` of every epoch of a student."""
        if type(self).teacher_epoch is Distiller.teacher_epoch:  # thousands of calls are saved
            return (last,) * epochs
        return tuple(self.teacher_epoch(epoch, epochs, last) for epoch in range(epochs))


class FeatureDistiller(Distiller):
    """A method with one loss of its own, between features: weight * `feature_loss` (D.2).

    A subclass gives `weight` its two defaults, from Table 5.
    """

    weight: Weight
    """Of the method's own loss (beta of Table 5), by what the teacher method says of `table5`."""

    def method_losses(
        self, batch: Batch, output: Output, teacher: Output, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the method's own loss, weighted, under the name of its file."""
        assert isinstance(self.weight, float), "a distiller is used after for_teacher"
        return {
            name_of(self): self.weight * self.feature_loss(batch, output.features, teacher.features)
        }

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """The method's loss between features, unweighted, (); no gradient to the teacher's."""
        raise NotImplementedError
