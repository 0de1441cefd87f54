"""The check that a teacher has the weights of all epochs that a distiller needs."""

from __future__ import annotations

from soteacher.core.errors import UserError
from soteacher.distillers.base import Distiller
from soteacher.study.runs import Run


def check_kept(who: str, term: Distiller, epochs: int, teacher: Run, last: int) -> None:
    """Raise `UserError` unless the teacher keeps all checkpoints that the distiller needs.

    who : the student, for the message.   epochs : of the student's training.   last : the epoch of
    the teacher that the student learns from at the end.
    """
    if teacher.spec.weights is not None:
        # its epochs are not known; as many as the student's show whether earlier ones are needed
        if {*term.teacher_epochs(epochs, epochs)} != {epochs}:
            raise UserError(
                f"{who} learns from checkpoints of its teacher's earlier epochs, and the imported "
                f"{teacher.id} has its final weights alone; choose another distiller for it, such "
                "as kd, or a teacher that is trained here"
            )
        return
    every, final = teacher.spec.recipe.keep_every, teacher.spec.recipe.epochs
    needed = sorted({*term.teacher_epochs(epochs, last)})
    if teacher.spec.held_out and needed != [final]:
        raise UserError(
            f"{who} learns from the weights of {teacher.id} after several epochs, but students of "
            f"a method with `{teacher.spec.held_out.use}` have only its weights after training; "
            f"leave out this method or the distiller"
        )
    missing = [n for n in needed if n != final and (n < 1 or not every or n % every)]
    if missing:
        kept = f"every {every} of {final} epochs" if every else f"only epoch {final}, the last"
        raise UserError(
            f"{who} learns from the checkpoints of {teacher.id} after epochs "
            f"{', '.join(map(str, needed))}, but its recipe keeps {kept}; set `keep_every` to a "
            "common divisor of these epochs, or change the epochs"
        )
