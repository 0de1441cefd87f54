"""The colour and marker of a method, the same in all figures and distinct in grey as well."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import cycle, islice

# Okabe and Ito, Color Universal Design, 2008: distinct for colour-blind readers too. The yellow is
# left out, because it is hard to see on white, and a grey replaces the black, which is hard to see
# on a dark page.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, GREY = "#E69F00", "#56B4E9", "#757575"
METHODS = {
    "standard": (BLUE, "o"),
    "soteacher": (VERMILLION, "s"),
    "no_cr": (GREEN, "^"),
    "no_lr": (ORANGE, "v"),
    "l1": (PURPLE, "D"),
    "mixup": (SKY, "P"),
    "cutmix": (GREY, "X"),
    "augmix": (GREEN, "p"),
    "crl": (ORANGE, "<"),
    "label_smoothing": (PURPLE, ">"),
}
# Five colours and eight markers: neighbours differ in both, and all forty pairs occur.
PAIRS = islice(zip(cycle((SKY, GREY, GREEN, ORANGE, PURPLE)), cycle("DXPp<>^v"), strict=False), 40)
OTHERS = [style for style in PAIRS if style not in METHODS.values()]


def styles(series: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the colour and marker of each series; the order of the series does not matter.

    The paper's methods have fixed styles. The style of any other name depends on its hash. If that
    style is taken, it is the next free one with the colour that the fewest series have.
    """
    names = sorted(set(series))
    chosen = {name: METHODS[name] for name in names if name in METHODS}
    for name in names:
        if name not in chosen:
            first = int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(OTHERS)
            choice = OTHERS[first:] + OTHERS[:first]
            taken = list(chosen.values())
            colours = [colour for colour, _ in taken]
            free = [style for style in choice if style not in taken] or choice
            chosen[name] = min(free, key=lambda style: colours.count(style[0]))
    return chosen
