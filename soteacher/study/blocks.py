"""What each kind of table and figure asks for: which runs are in which cell, line or point."""

from __future__ import annotations

from collections.abc import Iterator

from soteacher.study.contents import Cell, Part, TimedNetwork, Weight
from soteacher.study.expansion import Expansion
from soteacher.study.kinds import (
    AccuracyTable,
    AgreementTable,
    Block,
    CalibrationTable,
    CheckpointsFigure,
    CurvesFigure,
    DistanceTable,
    DistillerTable,
    NetworkBlock,
    OverheadTable,
    PairBlock,
    ReliabilityFigure,
    RunsBlock,
    SweepFigure,
    WeightTable,
)
from soteacher.study.paper import deviations
from soteacher.study.runs import Run
from soteacher.study.schema import Study, networks, regularizers
from soteacher.study.setting_change import Change, text

CALIBRATION = ("ece", "nll", "ece_scaled", "nll_scaled")
"""Columns of Table 3, in the paper's order."""


def cells(expansion: Expansion, name: str, table: Block) -> Iterator[Cell]:
    """The cells of a table, row by row; the runs they need become part of the expansion."""
    if isinstance(table, CalibrationTable):
        yield from _calibration(expansion, name, table)
    elif isinstance(table, DistillerTable):
        yield from _by_distiller(expansion, name, table)
    elif isinstance(table, AccuracyTable | AgreementTable | DistanceTable):
        yield from _by_pair(expansion, name, table)
    else:
        assert isinstance(table, OverheadTable | WeightTable)  # these have no cells of runs


def timed_networks(expansion: Expansion, table: OverheadTable) -> Iterator[TimedNetwork]:
    """The networks that a table times; the plan's runs stay as they are."""
    seed = expansion.study.seeds_of(table)[0]
    for head, pair in _networks(expansion, table):
        yield TimedNetwork(head, {m: expansion.teacher_run(pair, m, seed) for m in table.teachers})


def weights(study: Study, table: WeightTable) -> Iterator[Weight]:
    """The cells of a table of weights; no run is in them."""
    for name in table.distillers:
        student = study.distillers[name]
        for method in table.teachers:
            chosen = student.distiller.for_teacher(study.teachers[method].table5)
            for weight in chosen.weights():
                yield Weight(name, method, getattr(chosen, weight), student.method)


def parts(expansion: Expansion, name: str, figure: Block) -> Iterator[Part]:
    """The parts of a figure; the runs they need become part of the expansion."""
    if isinstance(figure, ReliabilityFigure):
        for head, pair in _networks(expansion, figure):
            for method in figure.teachers:
                runs = _teachers(expansion, name, figure, pair, method)
                differing = _deviations(runs, method)
                yield Part(f"{head} {method}", method, runs, deviations=differing)
    elif isinstance(figure, CurvesFigure):
        yield from _curves(expansion, name, figure)
    elif isinstance(figure, SweepFigure):
        yield from _sweep(expansion, name, figure)
    else:
        assert isinstance(figure, CheckpointsFigure)
        yield from _checkpoints(expansion, name, figure)


def _by_pair(
    expansion: Expansion, name: str, table: AccuracyTable | AgreementTable | DistanceTable
) -> Iterator[Cell]:
    for method in table.teachers:
        for distiller in table.distillers:
            made: set[str] = set()
            for pair in expansion.study.pairs_of(table):
                for column in table.columns:
                    role, measure = column.split(".")
                    shared = role == "teacher" and isinstance(table, DistanceTable)
                    shown = f"{_head(expansion, pair) if shared else pair} {column}"
                    if shown in made:  # another pair has the same teacher
                        continue
                    made.add(shown)
                    runs = _teachers(expansion, name, table, pair, method)
                    if role == "student":
                        runs = _students(expansion, name, pair, distiller, runs)
                    differing = _of_pair(expansion, pair, runs, method, distiller)
                    row = _series(table, method, distiller)
                    yield Cell(row, shown, measure, runs, differing, paper_row=method)


def _by_distiller(expansion: Expansion, name: str, table: DistillerTable) -> Iterator[Cell]:
    for distiller in table.distillers:
        paper_row = expansion.study.distillers[distiller].method
        for pair in expansion.study.pairs_of(table):
            for method in table.teachers:
                teachers = _teachers(expansion, name, table, pair, method)
                runs = _students(expansion, name, pair, distiller, teachers)
                differing = _of_pair(expansion, pair, runs, method, distiller)
                yield Cell(distiller, f"{pair} {method}", "top1", runs, differing, paper_row)


def _calibration(expansion: Expansion, name: str, table: CalibrationTable) -> Iterator[Cell]:
    for head, pair in _networks(expansion, table):
        for method in table.teachers:
            runs = _teachers(expansion, name, table, pair, method)
            network, _ = networks(pair, expansion.study.pairs[pair])
            row, paper_row = f"{head} {method}", f"{network} {method}"
            for measure in CALIBRATION:
                yield Cell(row, measure, measure, runs, _deviations(runs, method), paper_row)


def _curves(expansion: Expansion, name: str, figure: CurvesFigure) -> Iterator[Part]:
    shown: set[str] = set()
    students = []
    for pair in expansion.study.pairs_of(figure):
        head = _head(expansion, pair)
        for method in figure.teachers:
            teachers = _teachers(expansion, name, figure, pair, method)
            if head not in shown:
                yield Part(head, method, teachers, deviations=_deviations(teachers, method))
            for distiller in figure.distillers:
                runs = _students(expansion, name, pair, distiller, teachers)
                differing = _of_pair(expansion, pair, runs, method, distiller)
                series = _series(figure, method, distiller)
                students.append(Part(pair, series, runs, deviations=differing))
        shown.add(head)
    yield from students


def _checkpoints(expansion: Expansion, name: str, figure: CheckpointsFigure) -> Iterator[Part]:
    for pair in expansion.study.pairs_of(figure):
        last = expansion.study.recipes[expansion.study.pairs[pair].teacher_recipe].epochs
        for method in figure.teachers:
            teachers = _teachers(expansion, name, figure, pair, method)
            for distiller in figure.distillers:
                series = _series(figure, method, distiller)
                final = _students(expansion, name, pair, distiller, teachers)
                differing = _of_pair(expansion, pair, final, method, distiller)
                for epoch in (*range(figure.every, last, figure.every), last):
                    runs = _students(expansion, name, pair, distiller, teachers, epoch)
                    yield Part(pair, series, runs, teachers, epoch, deviations=differing)


def _sweep(expansion: Expansion, name: str, figure: SweepFigure) -> Iterator[Part]:
    pairs = expansion.study.pairs_of(figure)
    for pair in pairs:
        base = regularizers(expansion.study, figure.base, expansion.study.pairs[pair].data)
        for setting, values in figure.vary.items():
            panel = setting if len(pairs) == 1 else f"{pair} {setting}"
            own = Change(setting, values[0]).without(base)
            shown = list(dict.fromkeys([own, *values]))
            if not any(isinstance(value, str) for value in shown):
                shown.sort()
            for distiller in figure.distillers:
                teachers = _teachers(expansion, name, figure, pair, figure.base)
                runs = _students(expansion, name, pair, distiller, teachers)
                differing = _of_pair(expansion, pair, runs, figure.base, distiller)
                for value in shown:
                    change = Change(setting, value)
                    teachers = _teachers(expansion, name, figure, pair, figure.base, change)
                    runs = _students(expansion, name, pair, distiller, teachers)
                    series = _series(figure, figure.base, distiller)
                    shared = (panel, series, runs, teachers, None)
                    yield Part(*shared, text(value), value == own, differing)
                for method in figure.teachers:
                    teachers = _teachers(expansion, name, figure, pair, method)
                    runs = _students(expansion, name, pair, distiller, teachers)
                    series = _series(figure, method, distiller)
                    differing = _of_pair(expansion, pair, runs, method, distiller)
                    yield Part(panel, series, runs, teachers, deviations=differing)


def _series(block: PairBlock, method: str, distiller: str) -> str:
    return method if len(block.distillers) == 1 else f"{method} {distiller}"


def _head(expansion: Expansion, pair_name: str) -> str:
    """The teacher's network, with its data set where the study has the network on several."""
    study = expansion.study
    pair = study.pairs[pair_name]
    network, _ = networks(pair_name, pair)
    on = {p.data for name, p in study.pairs.items() if networks(name, p)[0] == network}
    return network if len(on) == 1 else f"{pair.data} {network}"


def _networks(expansion: Expansion, block: NetworkBlock) -> list[tuple[str, str]]:
    """The teachers that a block means: how each is called, and the first pair that has it."""
    found: dict[str, str] = {}
    for name, pair in expansion.study.pairs.items():
        if block.networks == "all" or networks(name, pair)[0] in block.networks:
            found.setdefault(_head(expansion, name), name)
    return list(found.items())


def _teachers(
    expansion: Expansion,
    name: str,
    block: RunsBlock,
    pair: str,
    method: str,
    change: Change | None = None,
) -> tuple[Run, ...]:
    seeds = expansion.study.seeds_of(block)
    return tuple(expansion.teacher(name, pair, method, seed, change) for seed in seeds)


def _students(
    expansion: Expansion,
    name: str,
    pair: str,
    distiller: str,
    teachers: tuple[Run, ...],
    epoch: int | None = None,
) -> tuple[Run, ...]:
    return tuple(expansion.student(name, pair, distiller, teacher, epoch) for teacher in teachers)


def _of_pair(
    expansion: Expansion, pair: str, runs: tuple[Run, ...], method: str, distiller: str
) -> tuple[str, ...]:
    """What of a pair's runs differs from what the paper has under the pair's name."""
    differing = _deviations(runs, method, distiller)
    if networks(pair, expansion.study.pairs[pair]) != tuple(pair.split("/")):
        differing += ("the pair's name is not that of its networks",)
    return differing


def _deviations(runs: tuple[Run, ...], method: str, distiller: str = "") -> tuple[str, ...]:
    run = runs[0]  # the others have other seeds, and those may be any
    if run.teacher is None:
        return tuple(deviations(run.spec, method))
    found = deviations(run.teacher.spec, method) + deviations(run.spec, distiller, method)
    return tuple(dict.fromkeys(found))
