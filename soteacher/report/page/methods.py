"""What the paper's teacher methods are, in one line each."""

from __future__ import annotations

LINES = {
    ("standard", ()): "a teacher trained as usual, with labels and cross-entropy alone.",
    ("soteacher", ("consistency", "lipschitz")): (
        "the paper's method: Standard with Lipschitz regularization (LR), which penalizes the "
        "norms of the weights, so that similar images get similar predictions, and with "
        "consistency regularization (CR), which keeps the predictions for an image close "
        "to their mean over earlier epochs."
    ),
    ("no_lr", ("consistency",)): "SoTeacher without Lipschitz regularization, so with CR alone.",
    ("no_cr", ("lipschitz",)): "SoTeacher without consistency regularization, so with LR alone.",
}
"""Name in studies and regularizers of each method of the paper's Table 1, to its line."""


def method_lines(regularizers: dict[str, list[str]]) -> dict[str, str]:
    """Return the lines of those methods of a study that are the paper's by name and regularizers.

    regularizers : method of the study to the names of its regularizers.
    """
    return {
        name: line
        for (name, parts), line in LINES.items()
        if name in regularizers and tuple(sorted(regularizers[name])) == parts
    }
