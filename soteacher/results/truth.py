"""Measures of predictions against known true label distributions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from soteacher.data.prepared import Prepared
from soteacher.measures import disagreement
from soteacher.measures import distance as measures
from soteacher.measures.softmax import probabilities


@dataclass(frozen=True)
class Split:
    """The true label distributions of the training or the test images."""

    name: str
    """`train` or `test`."""
    truth: np.ndarray
    """p*, (N, K)."""
    siblings: np.ndarray
    """The number of each image's siblings, (N,)."""

    def measured(
        self, predicted: np.ndarray, logs: np.ndarray, scaled: np.ndarray
    ) -> dict[str, float]:
        """Return the measures of probabilities, given with their logarithms.

        scaled : the probabilities after temperature scaling.
        """
        spread, bias = measures.spread_and_bias(predicted, self.truth, self.siblings)
        values = {
            "distance": measures.distance(predicted, self.truth),
            "distance_l1": measures.distance(predicted, self.truth, order=1),
            "distance_scaled": measures.distance(scaled, self.truth),
            "excess_nll": measures.excess_nll(logs, self.truth),
            "spread": spread,
            "bias": bias,
        }
        return {f"{self.name}_{name}": value for name, value in values.items()}

    def measured_from(self, logits: np.ndarray, temperature: float) -> dict[str, float]:
        """Return the measures of logits, which this temperature scales."""
        scaled, _ = probabilities(logits / np.float64(temperature))
        return self.measured(*probabilities(logits), scaled)

    @cached_property
    def _tenths(self) -> list[np.ndarray]:
        """The indices of the images in each tenth, from most agreement to least, or none."""
        return disagreement.tenths(self.truth)

    @cached_property
    def _like(self) -> np.ndarray:
        """The number of each image's group of like images, (N,)."""
        return disagreement.like(self.truth)

    def by_tenth(self, logits: np.ndarray) -> list[dict[str, float]]:
        """Return the measures of each tenth of the images; the list is empty without tenths."""
        if not self._tenths:
            return []
        predicted, logs = probabilities(logits)
        spread = disagreement.spread_of_like(predicted, self._like)
        rows = []
        for tenth, images in enumerate(self._tenths, start=1):
            truth, spread_here = self.truth[images], spread[images]
            is_known = ~np.isnan(spread_here)
            rows.append(
                {
                    "tenth": tenth,
                    "images": len(images),
                    "certainty": float(disagreement.certainty(truth).mean()),
                    "entropy": float(disagreement.entropy(truth).mean()),
                    "distance": measures.distance(predicted[images], truth),
                    "excess_nll": measures.excess_nll(logs[images], truth),
                    "spread": float(spread_here[is_known].mean()) if is_known.any() else np.nan,
                    "like": int(is_known.sum()),
                }
            )
        return rows


class Truth:
    """The true label distributions of a data set, which are read once for all runs."""

    def __init__(self, data: Prepared) -> None:
        self.known, self.known_of_test = data.has_truth, data.has_test_truth
        self._data = data
        self._splits: dict[str, Split] = {}

    def of(self, name: str) -> Split:
        """Return the split `train` or `test`."""
        if name not in self._splits:
            known = np.asarray(self._data.array(f"{name}_truth"))
            self._splits[name] = Split(name, known, measures.siblings(known))
        return self._splits[name]
