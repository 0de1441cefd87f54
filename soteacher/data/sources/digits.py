"""The 1,797 handwritten digits of scikit-learn: real images that need no download.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998: 8x8, 17 greys.
"""

from __future__ import annotations

from pydantic import Field

from soteacher.core.registry import register
from soteacher.data.sources.base import ImageSet, Outline, Source

N_TRAIN, N_TEST = 1347, 450


@register
class Digits(Source):
    """Handwritten digits: 1,347 training and 450 test images of ten classes, 8x8 pixels.

    The split is fixed and stratified by class.
    """

    n_train: int = Field(N_TRAIN, ge=100, le=N_TRAIN)
    """Number of training images: fewer than all are a fixed choice, stratified by class. The test
    images stay the same."""

    def outline_of_images(self) -> Outline:
        """Return the sizes of the data set."""
        return Outline(self.n_train, N_TEST, height=8, width=8, n_classes=10)

    def read(self) -> ImageSet:
        """Return 8x8 images with the grey in all three channels."""
        import numpy as np
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # 0..16 -> 0..255
        images = np.repeat(grey[..., None], 3, axis=-1)  # (N, 8, 8) -> (N, 8, 8, 3)
        labels = digits.target.astype(np.int64)
        train, test = train_test_split(
            np.arange(len(labels)), test_size=N_TEST, stratify=labels, random_state=0
        )
        if self.n_train < N_TRAIN:
            train, _ = train_test_split(
                train, train_size=self.n_train, stratify=labels[train], random_state=0
            )
        return ImageSet(
            train_images=images[train],
            train_labels=labels[train],
            test_images=images[test],
            test_labels=labels[test],
            classes=tuple(str(name) for name in digits.target_names),
        )
