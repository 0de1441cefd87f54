"""Folds of the training images: disjoint, stratified, of known sizes, drawn by the seed."""

from __future__ import annotations

import numpy as np
import pytest

from soteacher.data.folds import fold_sizes, folds_of


@pytest.mark.parametrize("n_folds", [2, 5, 10])
@pytest.mark.parametrize("n_images", [10, 64, 103])
def test_each_image_has_one_fold_and_each_class_is_spread_evenly(n_images, n_folds):
    labels = np.random.default_rng(n_images).integers(0, 7, n_images)
    folds = folds_of(labels, n_folds, seed=3)
    assert folds.shape == (n_images,)
    sizes = [int((folds == fold).sum()) for fold in range(n_folds)]
    assert sum(sizes) == n_images and max(sizes) - min(sizes) <= 1
    assert tuple(sizes) == fold_sizes(n_images, n_folds)
    for own in range(7):
        of_class = [int((folds[labels == own] == fold).sum()) for fold in range(n_folds)]
        assert max(of_class) - min(of_class) <= 1


def test_the_folds_depend_on_the_seed_alone_and_not_on_the_order_of_classes():
    labels = np.tile(np.arange(10), 20)
    assert (folds_of(labels, 5, 0) == folds_of(labels, 5, 0)).all()
    same = [(folds_of(labels, 5, 0) == folds_of(labels, 5, seed)).mean() for seed in (1, 2, 3)]
    assert max(same) < 0.4  # independent folds agree in a fifth of the images
    assert len({tuple(folds_of(labels, 5, 0)[labels == own]) for own in range(10)}) == 10
