"""Mixup, CutMix and label smoothing against plain loops, torchvision, and their distributions."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.random import key, numpy_generator
from soteacher.models.output import Output
from soteacher.regularizers.cutmix import CutMix, box
from soteacher.regularizers.label_smoothing import LabelSmoothing
from soteacher.regularizers.mixup import Mixup, blended
from soteacher.terms import CrossEntropy, RunContext

B, K, H, W = 6, 4, 10, 14
RARE = 1e-4
"""A fixed seed's draws are called wrong where chance alone would be this rare."""


def batch_of(n=B, height=H, width=W, seed=0):
    torch.manual_seed(seed)
    labels = torch.randint(0, K, (n,))
    images = torch.rand(n, 3, height, width, dtype=torch.float64)
    return Batch(images, labels, torch.arange(n), Cursor(Stage.MAIN, 0, 0))


def random(step, purpose):
    return numpy_generator(key(0, "teacher", purpose, "MAIN", 0, step))


def mixed(term, step=0, batch=None):
    return term.mix(batch or batch_of(), K, partial(random, step))


def one_hot(labels):
    return np.eye(K)[labels.numpy()]


def share_and_partners(plain, made):
    """Found from the images alone: which images were blended in which shares."""
    x, found = plain.images.numpy(), made.images.numpy()
    for share_of in np.ndindex(B, B):
        i, j = share_of
        if i != j:
            direction = x[i] - x[j]
            share = ((found[i] - x[j]) * direction).sum() / (direction**2).sum()
            if np.allclose(share * x[i] + (1 - share) * x[j], found[i], atol=1e-9) and share < 1:
                return share, [
                    next(
                        j
                        for j in range(B)
                        if np.allclose(share * x[i] + (1 - share) * x[j], found[i], atol=1e-9)
                    )
                    for i in range(B)
                ]
    raise AssertionError("no share explains the images")


@pytest.mark.parametrize("step", range(5))
def test_mixup_blends_images_and_labels_of_a_permutation_in_one_share(step):
    plain = batch_of(seed=step)
    made = mixed(Mixup(alpha=1.0), step, plain)
    share, partners = share_and_partners(plain, made)
    assert 0 <= share <= 1
    assert sorted(partners) == list(range(B))
    labels = one_hot(plain.labels)
    expected = [share * labels[i] + (1 - share) * labels[j] for i, j in enumerate(partners)]
    np.testing.assert_allclose(made.targets.numpy(), expected, atol=1e-12)
    assert made.labels is plain.labels and made.indices is plain.indices


def test_mixup_s_loss_is_the_authors_two_cross_entropies_in_these_shares():
    plain = batch_of()
    made = mixed(Mixup(alpha=1.0), 1, plain)
    share, partners = share_and_partners(plain, made)
    logits = torch.randn(B, K, dtype=torch.float64, requires_grad=True)
    [(name, loss)] = CrossEntropy().losses(made, Output(logits, {}), None, None).items()
    assert name == "ce"
    cross_entropy = torch.nn.functional.cross_entropy
    first, second = (cross_entropy(logits, y) for y in (plain.labels, plain.labels[partners]))
    expected = share * first + (1 - share) * second
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients)


def test_with_the_neighbour_as_partner_it_is_torchvision_s_mixup(monkeypatch):
    plain = batch_of()
    theirs = v2.MixUp(alpha=0.2, num_classes=K)
    monkeypatch.setattr(theirs._dist, "sample", lambda shape: torch.tensor(0.3))
    images, targets = theirs(plain.images, plain.labels)
    partners = torch.arange(B).roll(1)
    share = torch.tensor(0.3).item()
    torch.testing.assert_close(blended(plain.images, partners, share), images)
    ours = blended(torch.nn.functional.one_hot(plain.labels, K).double(), partners, share)
    torch.testing.assert_close(ours, targets.double())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_of_mixup_are_beta_distributed(alpha):
    numbers = [float(random(step, "mixup share").beta(alpha, alpha)) for step in range(2000)]
    assert stats.kstest(numbers, stats.beta(alpha, alpha).cdf).pvalue > RARE
    plain = Batch(
        torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.tensor([0, 1]), torch.arange(2), None
    )
    used = []
    for step in range(2000):
        made = mixed(Mixup(alpha=alpha), step, plain).targets
        if made[0, 0] != 1 or made[1, 1] != 1:  # the permutation was not the identity
            used.append(made[0, 0].item())
    assert 900 < len(used) < 1100
    assert stats.kstest(used, stats.beta(alpha, alpha).cdf).pvalue > RARE


@pytest.mark.parametrize("part", [Mixup(alpha=1.0), CutMix(alpha=1.0, probability=1.0)])
def test_every_image_is_everyones_partner_as_often(part):
    n = 5
    images = torch.eye(n).view(n, n, 1, 1).expand(n, n, H, W).contiguous()  # a channel each
    plain = Batch(images, torch.arange(n) % K, torch.arange(n), None)
    counts = np.zeros((n, n))
    for step in range(2000):
        here = mixed(part, step, plain).images.amax(dim=(2, 3)).numpy()
        for i, j in np.ndindex(n, n):
            counts[i, j] += i != j and here[i, j] > 0
    others = counts[~np.eye(n, dtype=bool)]
    assert others.sum() > 5000
    assert stats.chisquare(others).pvalue > RARE


# CutMix


def plain_box(height, width, share, row, column):
    """Of clovaai's rand_bbox, with the sides one by one: which pixels are cut."""
    ratio = math.sqrt(1 - share)
    cut_height, cut_width = int(height * ratio), int(width * ratio)
    inside = np.zeros((height, width), dtype=bool)
    for y, x in np.ndindex(height, width):
        in_rows = row - cut_height // 2 <= y < row + cut_height // 2
        inside[y, x] = in_rows and column - cut_width // 2 <= x < column + cut_width // 2
    return inside


def test_the_box_is_the_authors_clipped_at_the_edges():
    numbers = np.random.default_rng(0)
    for _ in range(300):
        height, width = numbers.integers(1, 40, 2)
        share = numbers.choice([0.0, 1.0, numbers.random(), numbers.beta(0.2, 0.2)])
        row, column = numbers.integers(height), numbers.integers(width)
        inside = np.zeros((height, width), dtype=bool)
        inside[box(int(height), int(width), float(share), int(row), int(column))] = True
        assert np.array_equal(inside, plain_box(height, width, share, row, column))


@pytest.mark.parametrize("step", range(8))
def test_cutmix_fills_one_box_of_all_images_and_blends_targets_by_pixels(step):
    plain = batch_of(seed=step)
    made = mixed(CutMix(alpha=1.0, probability=1.0), step, plain)
    x, found = plain.images.numpy(), made.images.numpy()
    changed = (x != found).any(axis=1)  # (B, H, W)
    cut = changed.any(axis=0)
    assert cut.any() and not cut.all()
    rows, columns = np.flatnonzero(cut.any(axis=1)), np.flatnonzero(cut.any(axis=0))
    assert cut[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    partners = [
        next(j for j in range(B) if np.array_equal(found[i][:, cut], x[j][:, cut]))
        for i in range(B)
    ]
    assert sorted(partners) == list(range(B))
    np.testing.assert_array_equal(found[:, :, ~cut], x[:, :, ~cut])
    stays = (~cut).sum() / cut.size  # the exact share of pixels
    labels = one_hot(plain.labels)
    expected = [stays * labels[i] + (1 - stays) * labels[j] for i, j in enumerate(partners)]
    np.testing.assert_allclose(made.targets.numpy(), expected, atol=1e-12)


def test_cutmix_leaves_a_batch_alone_as_often_as_its_probability_says():
    for probability in (0.0, 0.3, 1.0):
        plain = batch_of()
        term = CutMix(probability=probability)
        cut = sum(mixed(term, step, plain) is not plain for step in range(1000))
        assert stats.binomtest(cut, 1000, probability).pvalue > RARE


def test_where_the_middle_of_the_box_lies_is_uniform():
    """With half the sides, boxes whose middle is far from all edges are not clipped."""
    plain = batch_of(2, 12, 12)
    seen = np.zeros(12)
    for step in range(4000):
        numbers = random(step, "cutmix box")
        numbers.random(), numbers.beta(0.2, 0.2)
        row = int(numbers.integers(12))
        made = mixed(CutMix(probability=1.0), step, plain)
        cut = (made.images != plain.images).any(dim=1).any(dim=0)
        if cut.any():
            rows = cut.any(dim=1).nonzero().flatten()
            assert rows[0] <= row <= rows[-1] + 1
        seen[row] += 1
    assert stats.chisquare(seen).pvalue > RARE


def test_a_batch_of_one_image_is_its_own_partner():
    plain = batch_of(1)
    for term in (Mixup(), CutMix(probability=1.0)):
        made = mixed(term, 3, plain)
        torch.testing.assert_close(made.images, plain.images)
        np.testing.assert_allclose(made.targets.numpy(), one_hot(plain.labels))


# label smoothing


def started(**settings):
    term = LabelSmoothing(**settings)
    term.start(RunContext(9, K, 2, "cpu", None, None, 0, "teacher", None))
    return term


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 1.0])
def test_label_smoothing_is_torch_s_for_labels_and_for_blends(epsilon):
    logits = torch.randn(B, K, dtype=torch.float64)
    smoothing = started(epsilon=epsilon)
    plain = batch_of()
    for batch in (plain, mixed(Mixup(alpha=1.0), 1, plain)):
        loss = CrossEntropy().losses(smoothing.retarget(batch), Output(logits, {}), None, None)
        target = batch.labels if batch.targets is None else batch.targets
        theirs = torch.nn.functional.cross_entropy(logits, target, label_smoothing=epsilon)
        torch.testing.assert_close(loss["ce"], theirs)
    assert smoothing.losses(plain, Output(logits, {}), None, None) == {}


def test_a_smoothed_target_by_hand():
    batch = Batch(torch.zeros(1, 3, 2, 2), torch.tensor([2]), torch.tensor([0]), None)
    made = started().retarget(batch)  # 0.1 / 4 on each, and 0.9 on the third
    np.testing.assert_allclose(made.targets.numpy(), [[0.025, 0.025, 0.925, 0.025]], rtol=1e-6)
    assert made.images is batch.images and batch.targets is None
