"""AugMix: every operation to the bit Pillow's, the blend and the divergence by plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy import stats

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.models.output import Output
from soteacher.regularizers import augmix
from soteacher.regularizers.augmix import OPERATIONS, AugMix, jensen_shannon, operated

RARE = 1e-4
SIZES = [(8, 8), (32, 32), (64, 64), (20, 31)]


def pillow(image, name, level):
    """google-research/augmix's operation of that name, of one image and a drawn level."""
    width, height = image.size
    sign = 1 if level > 0 else -1

    def whole(most):
        return int(abs(level) * most / 10)

    def moved(*matrix):
        return image.transform((width, height), Image.AFFINE, matrix, resample=Image.BILINEAR)

    if name == "autocontrast":
        return ImageOps.autocontrast(image)
    if name == "equalize":
        return ImageOps.equalize(image)
    if name == "posterize":
        return ImageOps.posterize(image, 4 - whole(4))
    if name == "solarize":
        return ImageOps.solarize(image, 256 - whole(256))
    if name == "rotate":
        return image.rotate(sign * whole(30), resample=Image.BILINEAR)
    if name == "shear_x":
        return moved(1, level * 0.3 / 10, 0, 0, 1, 0)
    if name == "shear_y":
        return moved(1, 0, 0, level * 0.3 / 10, 1, 0)
    if name == "translate_x":
        return moved(1, 0, sign * whole(width / 3), 0, 1, 0)
    assert name == "translate_y"
    return moved(1, 0, 0, 0, 1, sign * whole(height / 3))


def pictures(numbers, n, height, width):
    """Noise of many contrasts; some with a channel of one colour, some dark, some of few colours"""
    spread = numbers.uniform(1, 90, (n, 1, 1, 1))
    images = np.clip(numbers.normal(120, spread, (n, height, width, 3)), 0, 255).astype(np.uint8)
    images[::7, ..., 1] = 9
    images[1::5] //= 3
    images[2::6] = images[2::6] // 64 * 64
    return images


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("number", range(len(OPERATIONS)), ids=OPERATIONS)
def test_every_operation_is_pillow_s_bit_for_bit(number, size):
    numbers = np.random.default_rng(number)
    images = pictures(numbers, 150, *size)
    levels = numbers.uniform(0.1, 10, 150) * numbers.choice((-1, 1), 150)
    levels[:3] = 0.1, -0.1, 9.9999  # the weakest and the strongest
    found = operated(torch.from_numpy(images), np.full(150, number), levels)
    expected = [
        pillow(Image.fromarray(image), OPERATIONS[number], level)
        for image, level in zip(images, levels, strict=True)
    ]
    np.testing.assert_array_equal(found.numpy(), np.stack([np.asarray(e) for e in expected]))


def test_the_operations_are_the_original_s_without_those_of_corrupted_test_sets():
    named = {"autocontrast", "equalize", "posterize", "rotate", "solarize"}
    named |= {f"{move}_{axis}" for move in ("shear", "translate") for axis in "xy"}
    assert {*OPERATIONS} == named and len(OPERATIONS) == 9


def test_images_with_other_operations_in_one_batch_do_not_meet():
    numbers = np.random.default_rng(0)
    images = torch.from_numpy(pictures(numbers, 40, 9, 12))
    operations = numbers.integers(-1, len(OPERATIONS), 40)
    levels = numbers.uniform(-3, 3, 40)
    together = operated(images, operations, levels)
    for i in range(40):
        alone = operated(images[i : i + 1], operations[i : i + 1], levels[i : i + 1])
        assert together[i].equal(alone[0])
        assert operations[i] >= 0 or together[i].equal(images[i])


class Drawn:
    """A generator that keeps what it drew."""

    def __init__(self, seed):
        self._numbers, self.kept = np.random.default_rng(seed), []

    def __getattr__(self, name):
        def draw(*arguments, **options):
            made = getattr(self._numbers, name)(*arguments, **options)
            self.kept.append((name, np.array(made)))
            return made

        return draw


@pytest.mark.parametrize("weight", [0, 12])
def test_the_blend_is_the_original_s_chain_by_chain(weight):
    images = pictures(np.random.default_rng(3), 12, 16, 16)
    drawn = Drawn(4)
    term = AugMix(width=4, alpha=0.7, severity=6, consistency_weight=weight)
    found = term.augment(torch.from_numpy(images), lambda purpose: drawn).numpy()
    (_, shares), (_, m), (_, depths), (_, operations), (_, strengths), (_, signs) = drawn.kept
    copies = 2 if weight else 1
    assert shares.shape == (copies, 12, 4) and m.shape == (copies, 12)
    views = [images.astype(np.float64)] if weight else []
    for copy in range(copies):
        view = np.zeros((12, 16, 16, 3))
        for i, image in enumerate(images):
            mix = np.zeros((16, 16, 3))
            for chain in range(4):
                picture = Image.fromarray(image)
                for step in range(depths[copy, i, chain]):
                    at = (copy, i, chain, step)
                    level = strengths[at] * signs[at]
                    picture = pillow(picture, OPERATIONS[operations[at]], level)
                mix += shares[copy, i, chain] * np.asarray(picture)
            view[i] = (1 - m[copy, i]) * image + m[copy, i] * mix
        views.append(view)
    assert term.views == len(views) == (3 if weight else 1)
    np.testing.assert_allclose(found, np.concatenate(views), atol=1e-3)


def test_what_is_drawn_has_the_distributions_of_the_original():
    drawn = Drawn(0)
    images = torch.zeros(3000, 2, 2, 3, dtype=torch.uint8)
    AugMix(alpha=1.0, width=3, severity=3).augment(images, lambda purpose: drawn)
    kept = [values for _, values in drawn.kept]
    shares, m, depths, operations, levels, signs = kept
    assert stats.kstest(m.ravel(), "uniform").pvalue > RARE  # Beta(1, 1)
    for chain in range(3):  # each share of Dirichlet(1, 1, 1) is Beta(1, 2)
        assert stats.kstest(shares[..., chain].ravel(), stats.beta(1, 2).cdf).pvalue > RARE
    np.testing.assert_allclose(shares.sum(axis=-1), 1)
    assert stats.chisquare(np.unique(depths, return_counts=True)[1]).pvalue > RARE
    assert {*np.unique(depths)} == {1, 2, 3}
    used = operations[np.arange(3) < depths[..., None]]
    assert stats.chisquare(np.bincount(used, minlength=9)).pvalue > RARE
    assert stats.kstest(levels.ravel(), stats.uniform(0.1, 2.9).cdf).pvalue > RARE
    assert stats.binomtest(int((signs > 0).sum()), signs.size).pvalue > RARE


def test_a_batch_s_views_are_new_in_every_step_and_the_same_again():
    images = torch.from_numpy(pictures(np.random.default_rng(1), 6, 8, 8))
    before = images.clone()
    first, again = (AugMix().augment(images, lambda _: np.random.default_rng(1)) for _ in "ab")
    other = AugMix().augment(images, lambda _: np.random.default_rng(2))
    assert first.equal(again) and not first.equal(other)
    assert images.equal(before)
    assert first.dtype == torch.float32 and first.min() >= 0 and first.max() <= 255


# the Jensen-Shannon term


def plain_divergence(logits, views):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    n = len(logits) // views
    total = 0.0
    for i in range(n):
        rows = [shares[view * n + i] for view in range(views)]
        mean = [max(min(sum(column) / views, 1), 1e-7) for column in zip(*rows, strict=True)]
        for row in rows:
            total += sum(p * (math.log(p) - math.log(m)) for p, m in zip(row, mean, strict=True))
    return total / views / n


def test_the_divergence_and_its_gradient_are_those_of_plain_loops():
    logits = np.random.default_rng(0).normal(0, 2, (3 * 5, 4))
    tensor = torch.tensor(logits, requires_grad=True)
    loss = jensen_shannon(tensor, 3)
    loss.backward()
    assert loss.item() == pytest.approx(plain_divergence(logits, 3), rel=1e-12)
    for at in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[at] = 1e-6
        slope = plain_divergence(logits + step, 3) - plain_divergence(logits - step, 3)
        assert tensor.grad[at].item() == pytest.approx(slope / 2e-6, abs=1e-8)


def test_the_divergence_is_none_where_the_views_agree_and_finite_where_they_are_certain():
    alike = torch.randn(4, 5).repeat(3, 1).double()
    assert jensen_shannon(alike, 3).item() == pytest.approx(0, abs=1e-12)
    certain = torch.tensor([[900.0, 0], [0, 900.0], [0, 900.0]], requires_grad=True)
    loss = jensen_shannon(certain, 3)
    loss.backward()
    # two thirds and one third: the entropy of the mean
    assert loss.item() == pytest.approx(math.log(3) - 2 / 3 * math.log(2), rel=1e-5)
    assert certain.grad.isfinite().all()


def test_the_term_is_the_weighted_divergence_of_all_three_views_or_nothing():
    logits = torch.randn(6, 3)
    batch = Batch(
        torch.zeros(6, 3, 2, 2), torch.tensor([0, 1]), torch.arange(2), Cursor(Stage.MAIN, 0, 0)
    )
    found = AugMix(consistency_weight=12).losses(batch, Output(logits, {}), None, None)
    assert found["augmix"].item() == pytest.approx(12 * jensen_shannon(logits, 3).item())
    assert AugMix().losses(batch, Output(logits[:2], {}), None, None) == {}


def test_torchvision_s_own_contrast_is_not_pillow_s():
    """Why it is not used, though its other operations are Pillow's; if this fails, it may be."""
    from torchvision.transforms.v2.functional import autocontrast

    images = torch.from_numpy(pictures(np.random.default_rng(0), 150, 8, 8))
    theirs = autocontrast(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert not theirs.equal(augmix._autocontrast(images))
