"""The rehearsal of a last batch of one image, before a run is trained.

Networks are checked by their sizes (`study.last_batch`). A method may have layers or losses that
need several images, too; without a rehearsal, its run would fail at the end of the first epoch.
"""

from __future__ import annotations

import torch

from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.terms import LossTerm
from soteacher.training.learner import Learner
from soteacher.training.members import Member
from soteacher.training.setup import PassSetup


def rehearse(setup: PassSetup, member: Member) -> None:
    """Compute the losses of the last batch with a network that is thrown away.

    Raises `UserError` if they cannot be computed or are not finite. The stages are rehearsed with
    initial weights; a preparation that depends on the teacher alone is not trained for it.
    """
    terms = member.spec.loss_terms()
    alone = [part for term in terms if (part := _prepared(setup, member, term)) is not None]
    stages = [(learner, Stage.PREPARE) for learner in alone]
    learner = setup.learner(member, terms)
    if learner.preparation is not None:
        stages.append((learner, Stage.PREPARE))
    stages.append((learner, Stage.MAIN))
    for one, stage in stages:
        for preparing in alone if stage == Stage.MAIN else ():
            preparing.parts.eval()  # as students receive them
        try:
            losses = _last_losses(setup, one, stage)
        except UserError:
            raise
        except Exception as error:
            raise _refused(setup, member, f"fails ({' '.join(str(error).split())})") from error
        for name, loss in losses.items():
            if not loss.isfinite():
                raise _refused(setup, member, f"has a loss '{name}' of {loss.item()}")


def _prepared(setup: PassSetup, member: Member, term: LossTerm) -> Learner | None:
    """Return the learner of the term's preparation for the teacher, and pass its modules on."""
    preparation = setup.preparation(member.spec, term)
    if preparation is None:
        return None
    term.receive(preparation.modules)
    return Learner(member.folder, member.spec.recipe, setup.stream, None, [], {}, preparation, None)


def _last_losses(setup: PassSetup, learner: Learner, stage: Stage) -> dict[str, torch.Tensor]:
    epoch = learner.recipe.terms_from if stage == Stage.MAIN else 0
    learner.enter(Cursor(stage, epoch, 0))  # this sets the modes of the stage
    batch = setup.stream.batch(Cursor(stage, epoch, setup.stream.steps - 1))
    with torch.no_grad():
        teacher = None if setup.teacher is None else setup.teacher(batch)
        return learner.losses(batch, learner.output(batch), teacher)


def _refused(setup: PassSetup, member: Member, what: str) -> UserError:
    methods = " and ".join(member.spec.terms) or "cross-entropy"
    return UserError(
        f"{member.id}: {setup.stream.n_images} training images in batches of "
        f"{setup.stream.batch_size} leave a last batch of one image, on which the training of "
        f"{member.spec.network.name} with {methods} {what}: choose a `batch` of the recipe that "
        "leaves two or more images, or another number of images"
    )
