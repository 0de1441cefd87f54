"""Measures, epochs and bins of runs, and figures of them, for the tests of figures."""

from __future__ import annotations

import pandas as pd
from made_tables import lost, row

from soteacher.report.figures import make_figure
from soteacher.report.figures.base import Measured
from soteacher.results.columns import DISAGREEMENT

NO_EPOCHS = pd.DataFrame(columns=["run", "epoch", "lr", "train_top1", "test_top1", "loss"])
NO_BINS = pd.DataFrame(
    columns=["run", "scaled", "bin", "low", "high", "images", "confidence", "accuracy"]
)

NO_TENTHS = pd.DataFrame(columns=DISAGREEMENT)


def measured(**top1):
    """Measures by run id; a run's value is its accuracy, or how it ended without one."""
    rows = [
        row(run, value, ece="", ece_scaled="")
        if isinstance(value, float)
        else lost(run, value, f"{run}: {value}")
        for run, value in top1.items()
    ]
    return pd.DataFrame(rows).set_index("run")


def history(**test_top1):
    """Epochs by run id: a run's test accuracies; in training it gets 0.1 more right."""
    return pd.DataFrame(
        [
            {"run": run, "epoch": n, "lr": 0.1, "train_top1": x + 0.1, "test_top1": x, "loss": 1.0}
            for run, values in test_top1.items()
            for n, x in enumerate(values, start=1)
        ]
    )


def binned(run, scaled, *bins):
    """Bins of one run: (images, confidence, accuracy) each, of equal width."""
    return pd.DataFrame(
        [
            {
                "run": run,
                "scaled": scaled,
                "bin": n + 1,
                "low": n / len(bins),
                "high": (n + 1) / len(bins),
                "images": images,
                "confidence": confidence,
                "accuracy": accuracy,
            }
            for n, (images, confidence, accuracy) in enumerate(bins)
        ]
    )


def record_of(kind, points):
    """What a figure is made of besides measures."""
    return {"name": "figure1", "kind": kind, "title": "A title.", "points": points, "runs": {}}


def make(kind, points, measures, epochs=NO_EPOCHS, reliability=NO_BINS, disagreement=NO_TENTHS):
    """The figure of a kind and its table."""
    given = Measured(measures, epochs, reliability, disagreement)
    return make_figure(record_of(kind, points), given)


def one(table, **where):
    """The one row of a table with these values."""
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]
