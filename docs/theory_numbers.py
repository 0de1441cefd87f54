"""Compute the tables of docs/theory.md: `python docs/theory_numbers.py` prints them.

The formulas are those of the paper's Section 3. Everything is in the l1 norm, for which the paper
proves them; the l1 distance of two distributions is at most 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.stats import binom

from soteacher.data.sources.digits import N_TRAIN, Digits
from soteacher.data.true_labels import distributions, look_alikes

DELTA = 0.05
"""Probability with which a bound may fail."""
MOST = 2.0
"""Largest l1 distance of two distributions."""
CONFUSION, SPLIT = 0.4, (0.7, 0.3)
"""Label noise of the example: 0.6 on the image's class, 0.28 and 0.12 on two look-alikes."""
DRAWS = 4000


def proposition_bound(n: int, n_classes: int, delta: float = DELTA) -> float:
    """Return the right-hand side of Eq. (3), for `n` siblings."""
    return math.sqrt(2 * n_classes / n * math.log(2 / delta))


def weissman_bound(n: int, n_classes: int, delta: float = DELTA) -> float:
    """Return the bound on the same distance that Weissman et al. (2003) prove."""
    return math.sqrt(2 / n * math.log((2**n_classes - 2) / delta))


def noisy(n_classes: int) -> np.ndarray:
    """Return the example's true label distribution of an image; (K,)."""
    truth = np.zeros(n_classes)
    truth[0], truth[1:3] = 1 - CONFUSION, CONFUSION * np.array(SPLIT)
    return truth


def mean_error(n: int, truth: np.ndarray) -> float:
    """Return the expected l1 distance of the mean of `n` labels from their distribution.

    Each entry of the mean is a binomial share, whose mean absolute deviation is known (De Moivre):
    2 (1 - p) m P(B = m) with m the first whole number above n p and B binomial(n, p).
    """
    p = truth[(truth > 0) & (truth < 1)]
    m = np.floor(n * p) + 1
    return float((2 * (1 - p) * m * binom.pmf(m, n, p)).sum() / n)


def exceeded_error(n: int, truth: np.ndarray, delta: float = DELTA) -> float:
    """Return the distance that a mean of `n` labels exceeds with probability `delta`, by draws."""
    counts = np.random.default_rng(0).multinomial(n, truth, size=DRAWS)
    return float(np.quantile(np.abs(counts / n - truth).sum(axis=1), 1 - delta))


def xi(n_classes: int) -> float:
    """Return xi_K of Theorem 3.6: 1 + K times the distance of a one-hot from the uniform vector."""
    return 1 + 2 * (n_classes - 1)


def covering_term(share: float, n_classes: int, kappa: float = 1.0, delta: float = DELTA) -> float:
    """Return the first term of Eq. (4), for a covering number of `share` times the images."""
    return math.sqrt(2 * kappa * share * n_classes * math.log(2 / delta))


def largest_share(n_classes: int, kappa: float = 1.0) -> float:
    """Return the covering number, as a share of the images, with which the first term is 2."""
    return (MOST / covering_term(1.0, n_classes, kappa)) ** 2


def packing_number(distances: np.ndarray, radius: float) -> int:
    """Return the size of a set of images more than 2 radii apart, found greedily.

    No ball of this radius has two of them, so every covering has at least as many balls.
    """
    left, size = np.ones(len(distances), dtype=bool), 0
    while left.any():
        left &= distances[left.argmax()] > 2 * radius
        size += 1
    return size


def covering_size(distances: np.ndarray, radius: float) -> int:
    """Return the size of a covering by balls around images, found greedily: no least one is larger.

    Each ball is that which covers the most images that no ball covers yet.
    """
    covers, size = distances <= radius, 0
    left, counts = np.ones(len(distances), dtype=bool), covers.sum(axis=1)
    while left.any():
        new = left & covers[counts.argmax()]
        left &= ~new
        counts -= covers[:, new].sum(axis=1)
        size += 1
    return size


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the distances (N, N) of the training images, and those of their distributions."""
    data = Digits().read()
    images, labels = data.train_images[..., 0] / 255, data.train_labels
    flat = images.reshape(len(images), -1)
    squared = (flat**2).sum(axis=1)
    apart = np.sqrt(np.maximum(squared[:, None] + squared - 2 * flat @ flat.T, 0))
    near = look_alikes(data.train_images, labels, 10, len(SPLIT))
    of_class = distributions(np.arange(10), near, CONFUSION, SPLIT)
    classes_apart = np.abs(of_class[:, None] - of_class).sum(axis=-1)
    np.fill_diagonal(apart, 0)
    return apart, classes_apart[labels[:, None], labels]


def third_term(distances: np.ndarray, apart: np.ndarray, radius: float) -> float:
    """Return a lower limit of 2 L* r: the steepest slope of p* between images within the radius."""
    near = (distances > 0) & (distances <= radius)
    return 2 * radius * float((apart[near] / distances[near]).max(initial=0.0))


def sibling_rows() -> Iterator[str]:
    """Yield the rows of the table of Proposition 3.3."""
    for n_classes in (10, 100):
        even = np.full(n_classes, 1 / n_classes)
        for n in (10, 100, 1000, 10_000, 100_000):
            values = [proposition_bound(n, n_classes), weissman_bound(n, n_classes)]
            for truth in (even, noisy(n_classes)):
                values += [exceeded_error(n, truth), mean_error(n, truth)]
            yield f"| {n_classes} | {n:,} | " + " | ".join(f"{v:.2g}" for v in values) + " |"


def theorem_terms() -> dict[float, tuple[int, int, float]]:
    """Return, by radius, the limits of the covering number and of the third term on digits.

    The covering number is at least the packing number, and at most the size of the covering found.
    The first term falls with the radius. The third is 0 below the least distance of two images of
    different classes, and more than 3 from there on. So the radius just below it is included.
    """
    distances, apart = digits()
    below = np.nextafter(distances[apart > 0].min(), 0)
    return {
        float(radius): (
            packing_number(distances, radius),
            covering_size(distances, radius),
            third_term(distances, apart, radius),
        )
        for radius in [*np.arange(0, 2.25, 0.25), below]
    }


def theorem_rows(terms: dict[float, tuple[int, int, float]]) -> Iterator[str]:
    """Yield the rows of the table of Theorem 3.6 on digits, one per radius."""
    for radius, (low, found, third) in sorted(terms.items()):
        first = [covering_term(n / N_TRAIN, 10) for n in (low, found)]
        yield (
            f"| {radius:.2f} | {low:,} to {found:,} | {first[0]:.1f} to {first[1]:.1f} "
            f"| {third:.1f} |"
        )


def least_sums(
    terms: dict[float, tuple[int, int, float]], kappa: float = 1.0
) -> tuple[float, float]:
    """Return the least sum of the first and third term on digits, over all radii.

    The second term, which is 0 for constant networks alone, is left out. The first number has the
    lower limits of both terms; the second has the first term of the coverings that were found.
    """
    sums = [
        [covering_term(n / N_TRAIN, 10, kappa) + third for n in balls]
        for *balls, third in terms.values()
    ]
    low, found = np.min(sums, axis=0)
    return float(low), float(found)


def main() -> None:
    """Print the tables, and the numbers of the text."""
    terms = theorem_terms()
    print(*sibling_rows(), "", *theorem_rows(terms), "", sep="\n")
    for kappa in (1.0, 2.0):
        low, found = least_sums(terms, kappa)
        print(f"digits, kappa {kappa:.0f}: the least sum is at least {low:.1f}; found {found:.1f}")
    for n_classes, n in ((10, N_TRAIN), (100, 50_000)):
        for kappa in (1.0, 2.0):
            share = largest_share(n_classes, kappa)
            print(
                f"K {n_classes}, kappa {kappa:.0f}: xi {xi(n_classes):.0f}, "
                f"first term {covering_term(1.0, n_classes, kappa):.1f}, "
                f"2 with at most {share * n:.0f} balls, of {1 / share:.0f} images on average"
            )


if __name__ == "__main__":
    main()
