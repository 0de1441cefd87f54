"""What is compared, with whom, and the goals: one row of the table each."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import convolutions, demo, finished, others, processes
from bench.ours import OurPass
from bench.study import BenchStudy
from bench.timing import Deadline, LeftOut, Pair, Side, Times, paired
from soteacher.study.cost import step_flop

PAPER = ("wrn_40_2", "wrn_16_2")
"""The pair of networks of the rows about one student."""
FASTER, MORE, SHARE, SECONDS = "times as fast", "% more time", "share", "s"
WAIT, REST = "s of wall-clock", "% of the time"
"""What a row's numbers are: the other side's time / ours; 100 (ours / the other side's - 1); ours
as a share of the other side's FLOP per second; seconds; seconds of processes that share cores, with
a goal in wall-clock time; 100 (1 - ours / the other side's)."""
AT_MOST = (MORE, SECONDS, WAIT, REST)
"""The kinds of numbers that are better if they are smaller."""
STUDENTS = "Many students in a pass"
ONE = "One network"
OVERHEAD = "The cost of SoTeacher"
PEAK = "Share of the CPU's rate"
START = "Start of processes"
STUDIES = "Whole studies"
DEMO = "The demo's time"
TWELVE, PLAIN, BOX = "12 plain loops", "plain loop", "torchdistill"


@dataclass
class Measured:
    """The times of a row, or of a command, where `pairs` has no other side."""

    pairs: list[Pair]
    flop: tuple[int, int] = (1, 1)
    """FLOP of a step of both sides, for a share."""
    other: str = ""
    """What the other side was, if that is known only after it was chosen."""
    profiled: OurPass | None = None
    """The pass to profile if the goal is missed."""


@dataclass(frozen=True)
class Bench:
    """What the rows measure: the study in float32, one in another precision, and a folder."""

    folder: Path
    study: BenchStudy

    def in_precision(self, precision: str) -> BenchStudy:
        """Return the same study in another precision, on the same images."""
        return BenchStudy(self.study.store, {**self.study.over, "precision": precision})


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    key: str
    group: str
    ours: str
    other: str
    unit: str
    goal: float | None
    weight: float
    """The row's share of the time, relative to other rows."""
    measure: Callable[[Bench, Deadline], Measured] = field(repr=False)


def students(teacher: str, student: str, bench: Bench, deadline: Deadline) -> Measured:
    """Time all students of a teacher in a pass, and a plain loop for each."""
    members = bench.study.students(teacher, student)
    ours = OurPass(members, bench.study.data)
    return _measured(ours, others.plain_students(members, bench.study), 1, deadline)


def students_in(
    precision: str, teacher: str, student: str, bench: Bench, deadline: Deadline
) -> Measured:
    """Time all students of a teacher in a pass in a precision, and plain loops in float32."""
    study = bench.in_precision(precision)
    ours = OurPass(study.students(teacher, student), study.data)
    float32 = bench.study.students(teacher, student)
    return _measured(ours, others.plain_students(float32, bench.study), 1, deadline)


def one_student(
    peer: str, teacher: str, student: str, bench: Bench, deadline: Deadline
) -> Measured:
    """Time a student by knowledge distillation alone, and the same by `PLAIN` or `BOX`."""
    member = bench.study.student(teacher, student)
    ours = OurPass([member], bench.study.data)
    if peer == BOX:
        _check_torchdistill()
        return _measured(ours, others.torchdistill_student(member, bench.study), 2, deadline)
    return _measured(ours, others.plain_students([member], bench.study), 2, deadline)


def one_teacher(peer: str, network: str, method: str, bench: Bench, deadline: Deadline) -> Measured:
    """Time a teacher, and the same by `PLAIN` or `BOX`."""
    [member] = bench.study.teachers(network, method)
    ours = OurPass([member], bench.study.data)
    if peer == BOX:
        _check_torchdistill()
        return _measured(ours, others.torchdistill_teacher(member, bench.study), 2, deadline)
    return _measured(ours, others.plain_teacher(member, bench.study), 2, deadline)


def one_teacher_in(
    precision: str, network: str, method: str, bench: Bench, deadline: Deadline
) -> Measured:
    """Time a teacher in a precision, and the plain loop in float32."""
    study = bench.in_precision(precision)
    ours = OurPass(study.teachers(network, method), study.data)
    [float32] = bench.study.teachers(network, method)
    return _measured(ours, others.plain_teacher(float32, bench.study), 2, deadline)


def overhead(network: str, bench: Bench, deadline: Deadline) -> Measured:
    """Time whole steps of SoTeacher and of the Standard teacher."""
    study = bench.study
    [standard, soteacher] = study.teachers(network, "standard", "soteacher")
    ours = OurPass([soteacher], study.data)
    return _measured(ours, OurPass([standard], study.data), 1, deadline)


def share(network: str, bench: Bench, deadline: Deadline) -> Measured:
    """Time steps of a network with labels alone, and its fastest convolution alone."""
    study = bench.study
    [member] = study.teachers(network, "standard")
    ours = OurPass([member], study.data)
    images = ours.setup.stream.batch(ours.learners[0].cursor).images
    convolution, times = convolutions.best(network, study.data.n_classes, images)
    pairs = paired(ours, convolution, (1, times), deadline)
    ours.check_finite()
    flop = (step_flop(member.spec, study.data.outline), convolution.flop)
    return Measured(pairs, flop, str(convolution), ours)


def command(
    words: Callable[[Path], list[str]] | list[str], bench: Bench, deadline: Deadline
) -> Measured:
    """Time a command; `words` may be a function of the folder that it works in."""
    given = words if isinstance(words, list) else words(bench.folder)
    times = processes.repeated(given, bench.folder, deadline)
    return Measured([Pair(one, Times(1.0, 1.0)) for one in times])


def tables(bench: Bench, deadline: Deadline) -> Measured:
    """Measure all finished runs of the paper's study and make its tables and figures, once."""
    words = finished.tables(bench.folder)
    return Measured([Pair(processes.once(words, bench.folder), Times(1.0, 1.0))])


def not_training(bench: Bench, deadline: Deadline) -> Measured:
    """Run the demo, once; compare the time of its training with its whole time."""
    return Measured([demo.run_demo(bench.folder)])


def _measured(ours: OurPass, other: Side, steps: int, deadline: Deadline) -> Measured:
    pairs = paired(ours, other, (steps, steps), deadline)
    ours.check_finite()
    return Measured(pairs, profiled=ours)


def _check_torchdistill() -> None:
    if importlib.util.find_spec("torchdistill") is None:
        raise LeftOut("torchdistill is not installed: run `make bench`")


def _pass_row(key: str, pair: tuple[str, str], title: str, goal: float, weight: float) -> Row:
    ours = f"12 students, {title}"
    return Row(key, STUDENTS, ours, TWELVE, FASTER, goal, weight, partial(students, *pair))


def _share_row(network: str, title: str, goal: float) -> Row:
    ours = f"step of {title}"
    measure = partial(share, network)
    return Row(f"share_{network}", PEAK, ours, "best convolution", SHARE, goal, 14, measure)


def _start_row(
    key: str,
    title: str,
    goal: float | None,
    weight: float,
    words: Callable[[Path], list[str]] | list[str],
) -> Row:
    return Row(key, START, title, "", SECONDS, goal, weight, partial(command, words))


MINUTES = 13.5
"""How long a whole run measures; slow machines take longer, as a row has at least three pairs."""
ROWS = (
    _pass_row("students_wrn_16_2", PAPER, "WRN-40-2 → WRN-16-2", 2.0, 125),
    _pass_row("students_wrn_40_1", ("wrn_40_2", "wrn_40_1"), "WRN-40-2 → WRN-40-1", 2.0, 125),
    _pass_row(
        "students_shufflenet_v2",
        ("resnet32x4", "shufflenet_v2"),
        "ResNet32x4 → ShuffleNetV2",
        3.8,
        195,
    ),
    Row(
        "students_wrn_16_2_bfloat16",
        STUDENTS,
        "12 students, WRN-40-2 → WRN-16-2, bfloat16",
        f"{TWELVE}, float32",
        FASTER,
        3.3,
        60,
        partial(students_in, "bfloat16", *PAPER),
    ),
    Row(
        "student",
        ONE,
        "student, WRN-40-2 → WRN-16-2, KD",
        PLAIN,
        FASTER,
        1.15,
        36,
        partial(one_student, PLAIN, *PAPER),
    ),
    Row(
        "student_torchdistill",
        ONE,
        "student, WRN-40-2 → WRN-16-2, KD",
        BOX,
        FASTER,
        None,
        36,
        partial(one_student, BOX, *PAPER),
    ),
    Row(
        "teacher",
        ONE,
        "teacher WRN-40-2, Standard",
        PLAIN,
        FASTER,
        1.15,
        44,
        partial(one_teacher, PLAIN, PAPER[0], "standard"),
    ),
    Row(
        "teacher_torchdistill",
        ONE,
        "teacher WRN-40-2, Standard",
        BOX,
        FASTER,
        None,
        44,
        partial(one_teacher, BOX, PAPER[0], "standard"),
    ),
    Row(
        "teacher_bfloat16",
        ONE,
        "teacher WRN-40-2, Standard, bfloat16",
        f"{PLAIN}, float32",
        FASTER,
        2.0,
        30,
        partial(one_teacher_in, "bfloat16", PAPER[0], "standard"),
    ),
    Row(
        "soteacher",
        ONE,
        "teacher WRN-40-2, SoTeacher",
        PLAIN,
        FASTER,
        1.15,
        44,
        partial(one_teacher, PLAIN, PAPER[0], "soteacher"),
    ),
    Row(
        "soteacher_bfloat16",
        ONE,
        "teacher WRN-40-2, SoTeacher, bfloat16",
        f"{PLAIN}, float32",
        FASTER,
        2.0,
        30,
        partial(one_teacher_in, "bfloat16", PAPER[0], "soteacher"),
    ),
    Row(
        "overhead",
        OVERHEAD,
        "teacher WRN-40-2, SoTeacher",
        "teacher WRN-40-2, Standard, also by soteacher",
        MORE,
        1.0,
        60,
        partial(overhead, PAPER[0]),
    ),
    _share_row("wrn_40_2", "WRN-40-2", 0.80),
    _share_row("wrn_16_2", "WRN-16-2", 0.80),
    _share_row("shufflenet_v2", "ShuffleNetV2", 0.45),
    _start_row("import_torch", "`import torch`", None, 8, processes.python("import torch")),
    _start_row(
        "set_up",
        "`import torch` and deterministic mode",
        1.6,
        12,
        processes.python(processes.SET_UP),
    ),
    _start_row(
        "import_plain",
        "plain loop: `import torch, torchvision`",
        None,
        12,
        processes.python("import torch, torchvision"),
    ),
    _start_row(
        "first_step", "`soteacher teach` until its first step", None, 16, processes.first_step
    ),
    _start_row(
        "dry_run",
        "`snakemake -n`, config/paper.yaml, 466 runs",
        2.0,
        12,
        partial(processes.dry_run, seeds=3),
    ),
    _start_row(
        "dry_run_many_seeds",
        "`snakemake -n`, config/paper.yaml with 130 seeds, 18,246 runs",
        15.0,
        62,
        partial(processes.dry_run, seeds=130),
    ),
)
LONG = (
    Row(
        "tables",
        STUDIES,
        "measures, tables and figures of 466 finished runs, two cores",
        "",
        WAIT,
        45.0,
        1,
        tables,
    ),
    Row(
        "not_training",
        DEMO,
        "what is not training in `make demo`, two cores",
        "",
        REST,
        20.0,
        1,
        not_training,
    ),
)
"""Rows that take minutes, and are measured only if they are named; later runs keep them."""
