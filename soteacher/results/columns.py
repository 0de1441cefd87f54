"""The columns of the measures CSVs, and of the tidy tables beside them."""

from __future__ import annotations

MEASURES = (
    *("top1", "top1_low", "top1_high", "top5", "best_top1"),
    *("nll", "ece", "ece_null", "nll_scaled", "ece_scaled", "ece_scaled_null"),
    *("temperature_first", "temperature_second"),
    *("agreement", "predictive_kl"),
    *("test_distance", "test_distance_l1", "test_distance_scaled"),
    *("test_excess_nll", "test_spread", "test_bias"),
    *("train_distance", "train_distance_l1", "train_distance_scaled"),
    *("train_excess_nll", "train_spread", "train_bias"),
    *("train_distance_hardest", "train_excess_nll_hardest"),
)
"""Measures after the last epoch. docs/results.md explains each of them.

Those of test images are shares in [0, 1] (`top1`, `top5`, `agreement`, `ece`) and nats (`nll`,
`predictive_kl`). `top1_low` and `top1_high` are the 95 % bootstrap interval over test images.
`best_top1` is of the best epoch, for information only, because the test set selects the epoch.
`_null` is the ECE that a perfectly calibrated network with the same confidences is expected to
have. `_scaled` is after temperature scaling, with one temperature fitted on each half of the test
images; training images are scaled with the geometric mean of the two. `agreement` and
`predictive_kl` compare a student with its teacher.

The last fourteen are about the true label distributions, if these are known: distances (l2 unless
the name has `_l1`), the excess of NLL over their entropy in nats, and the mean squared l2 distance,
divided into `spread` and `bias`. `_hardest` is over the last of the tenths of `DISAGREEMENT`, if
there are tenths."""
TRAINED_ON = ("device", "capability", "threads", "precision", "torch", "soteacher")
"""How a run was computed. This is recorded, but it is not part of the run's spec. `capability` is
the CPU's vector instructions that torch used; it is empty for a GPU, and if it is not recorded."""
COLUMNS = ("run", "spec_sha256", "status", "note", "classes", *MEASURES, *TRAINED_ON)
"""`classes` is the number of classes of the data set."""
EPOCHS = ("run", "epoch", "lr", "train_top1", "test_top1", "loss")
RELIABILITY = ("run", "scaled", "bin", "low", "high", "images", "confidence", "accuracy")
DISAGREEMENT = (
    *("run", "tenth", "images", "certainty", "entropy"),
    *("distance", "excess_nll", "spread", "like"),
)
"""Tenths of the training images, from most agreement of p* (1) to least (10), if they have tenths
(`measures.disagreement.tenths`). `certainty` is the mean largest probability of p*, `entropy` the
mean entropy of p* in nats, `distance` the mean l2 distance, and `excess_nll` is in nats. `spread`
is a mean over those images of the tenth that have like images among all training images; `like` is
their number."""
TIDY = {
    "": COLUMNS,
    ".epochs": EPOCHS,
    ".reliability": RELIABILITY,
    ".disagreement": DISAGREEMENT,
}
"""Suffix of a CSV file's name, before `.csv`, to its columns; in the order of `Measured`."""
