"""FT's first stage: the paraphraser's layers, loss, rate and length; what cannot be matched."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from distilling import SAME_SIZE, STUDENT, batch_of, features_of, outputs, site_of, started
from torch import nn

from soteacher.core.errors import UserError
from soteacher.core.random import seeded


def paraphraser(student=None, **settings):
    """The first stage, as it is asked for where only the teacher is at hand."""
    term = started("ft", site_of(SAME_SIZE), **settings).term
    with seeded(4):
        stage = term.preparation(replace(site_of(SAME_SIZE), student_features=student), None, {})
    for module in stage.modules.values():
        module.double()
    return stage


def channels(module):
    return [
        (layer.in_channels, layer.out_channels)
        for layer in module
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]


@pytest.mark.parametrize(
    ("settings", "narrow"), [({}, 4), ({"factor": 0.25}, 2), ({"factor": 2}, 18)]
)
def test_three_convolutions_narrow_the_teacher_s_channels_and_three_widen_them(settings, narrow):
    stage = paraphraser(**settings)  # of 9 channels, by default int(4.5)
    encoder, decoder = stage.modules["encoder"], stage.modules["decoder"]
    assert channels(encoder) == [(9, 9), (9, narrow), (narrow, narrow)]
    assert channels(decoder) == [(narrow, narrow), (narrow, 9), (9, 9)]
    maps = features_of(SAME_SIZE, 3, 0)["stage3"]
    assert encoder(maps).shape == (3, narrow, 2, 2)
    assert decoder(encoder(maps)).shape == maps.shape


def test_the_translator_gives_as_many_channels_as_the_factor_has():
    [translator] = started("ft", site_of(SAME_SIZE)).modules.values()
    assert channels(translator) == [(6, 6), (6, 4), (4, 4)]


def test_the_first_stage_s_loss_is_the_mean_squared_error_of_what_is_restored():
    stage = paraphraser()
    _, teacher = outputs(SAME_SIZE)
    maps = teacher.features["stage3"]
    restored = stage.modules["decoder"](stage.modules["encoder"](maps))
    losses = stage.loss(batch_of(5), None, teacher)
    expected = ((restored - maps).detach().numpy() ** 2).mean()
    assert {name: loss.item() for name, loss in losses.items()} == {
        "paraphrased": pytest.approx(expected, rel=1e-12)
    }
    losses["paraphrased"].backward()
    parameters = nn.ModuleDict(stage.modules).parameters()
    assert all(p.grad.abs().sum() > 0 for p in parameters)


def test_the_rate_is_a_constant_0_01_for_30_epochs_and_the_student_has_no_part():
    stage = paraphraser()
    assert stage.epochs == 30 and not stage.student
    assert [stage.lr(epoch) for epoch in range(30)] == [0.01] * 30


def test_the_first_stage_learns_on_one_batch():
    stage, (_, teacher) = paraphraser(), outputs(SAME_SIZE)
    parameters = list(nn.ModuleDict(stage.modules).parameters())
    optimizer = torch.optim.SGD(parameters, lr=stage.lr(0), momentum=0.9)
    losses = []
    for _ in range(200):
        loss = stage.loss(batch_of(5), None, teacher)["paraphrased"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.99 * losses[0]


def test_another_number_of_stages_is_refused_in_one_line():
    fewer = {name: shape for name, shape in STUDENT.items() if "stage3" not in name}
    with pytest.raises(
        UserError, match=r"the same number of stages.* ends with stage3, .* with stage2$"
    ):
        started("ft", site_of(SAME_SIZE, fewer))
