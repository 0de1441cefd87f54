"""The check that the parts of a teacher method can be combined."""

from __future__ import annotations

from collections.abc import Mapping

from soteacher.core.errors import UserError
from soteacher.regularizers.base import ImageChange, Regularizer, check_together
from soteacher.study.schema import TeacherMethod
from soteacher.terms import LossTerm


def check_method(
    method: TeacherMethod, regularizers: Mapping[str, Regularizer], where: str
) -> None:
    """Raise `UserError` if the keys and the regularizers of a teacher method exclude each other.

    where : the key of the method, for messages.
    """
    try:
        check_together(regularizers)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if method.oracle and regularizers:
        raise UserError(
            f"{where}: an oracle is not trained, so it has no regularizers; leave out "
            f"{', '.join(map(repr, regularizers))}, or `oracle`"
        )
    if method.early_stop and method.cross_fit is not None:
        raise UserError(
            f"{where}: both `early_stop` and `cross_fit` hold out training images; use one of them"
        )
    if method.oracle and method.held_out:
        raise UserError(
            f"{where}: an oracle is not trained, so it holds out no images; leave out "
            f"`{method.held_out.use}`, or `oracle`"
        )
    if method.weights and (regularizers or method.oracle):
        others = [*regularizers, *(["oracle"] if method.oracle else [])]
        raise UserError(
            f"{where}: a teacher with `weights` was trained elsewhere, so it has no regularizers "
            f"and is no oracle; leave out {', '.join(map(repr, others))}, or `weights`"
        )
    if method.weights and method.held_out:
        raise UserError(
            f"{where}: a teacher with `weights` was trained elsewhere, so it holds out no images; "
            f"leave out `{method.held_out.use}`, or `weights`"
        )
    if method.fine_tune is not None:
        _check_fine_tuned(method, regularizers, where)


def _check_fine_tuned(
    method: TeacherMethod, regularizers: Mapping[str, Regularizer], where: str
) -> None:
    """Raise `UserError` if a teacher cannot be trained as Standard's and then fine-tuned."""
    if not method.is_trained:
        key = "oracle" if method.oracle else "weights"
        raise UserError(
            f"{where}: a teacher with `{key}` is not trained here, so it is not fine-tuned either; "
            f"leave out `fine_tune`, or `{key}`"
        )
    if method.held_out:
        raise UserError(
            f"{where}: `fine_tune` continues the training of Standard's teacher, which has all "
            f"training images and its last epoch's weights; leave out `fine_tune`, or "
            f"`{method.held_out.use}`"
        )
    for name, regularizer in regularizers.items():
        if isinstance(regularizer, ImageChange):
            what = "changes the images of all epochs"
        elif type(regularizer).preparation is not LossTerm.preparation:
            what = "has a first stage"
        else:
            continue
        raise UserError(
            f"{where}: before `fine_tune`, the teacher is trained as Standard's, but '{name}' "
            f"{what}; leave out `fine_tune`, or '{name}'"
        )
