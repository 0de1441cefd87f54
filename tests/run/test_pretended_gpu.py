"""All training code on a pretended GPU: no mix of devices, no wait in a step, the CPU's bits.

What this cannot show: the speed and the bits of a real GPU, waits inside CUDA's kernels, and
operations that CUDA refuses, or waits for, and that `pretended_gpu` does not list.
"""

from __future__ import annotations

import functools
import inspect
import shutil
import textwrap
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from pretended_gpu import ERROR, MIXED, PACKAGE, REFUSED, SMALL_COPY, WAIT, Note, PretendedGPU

from soteacher import losses
from soteacher.core import registry
from soteacher.core.errors import RunsFailed
from soteacher.data.prepared import prepare, stored_data
from soteacher.data.stream import Stream
from soteacher.distillers.base import Distiller
from soteacher.models import catalogue
from soteacher.penalties import (
    ConsistencyPenalty,
    CorrectnessRankingPenalty,
    L1Penalty,
    LipschitzPenalty,
)
from soteacher.penalties import l1 as l1_formula
from soteacher.penalties import lipschitz as lipschitz_formula
from soteacher.store.run_folder import RunFolder
from soteacher.training import evaluate, loop, passes, state
from soteacher.training import learner as learner_module
from soteacher.training.evaluate import Evaluator
from soteacher.training.job import run_job
from soteacher.training.learner import Learner
from soteacher.training.members import JobOptions
from soteacher.training.passes import Pass
from soteacher.training.teacher import FrozenTeacher, OutOfFoldTeacher

pytestmark = pytest.mark.cpu_only(
    "a pretended GPU has the CPU's bits, and stands in for a real one"
)

SAME, OTHER = "wrn_10_2/wrn_10_1", "resnet8x1/shufflenet_v2"
RECIPE = {"epochs": 2, "batch": 40, "lr": 0.02, "decay_at": [1], "keep_every": 1}
AUGMENT = {"crop_padding": 1, "flip": 0.5}
METHODS = {name: {name: {}} for name in registry.shipped("regularizer")} | {
    "standard": {},
    "soteacher": {"lipschitz": {}, "consistency": {}},
    "induced": {"lipschitz": {"norm": "induced"}},
    "induced_strided": {"lipschitz": {"norm": "induced_strided"}},
    "paper_mode": {"consistency": {"mode": "paper", "ramp": "cosine"}},
    "divergence": {"augmix": {"consistency_weight": 12}},
    "smoothed_mixup": {"mixup": {}, "label_smoothing": {}},
    "mse_mixup": {"mse": {}, "mixup": {}},
    "early_stopped": {"early_stop": True, "consistency": {}},
    "cross_fitted": {"cross_fit": 3, "consistency": {}},
}
"""Each regularizer alone, SoTeacher, and settings that select other code."""
SHORT = {
    "ab": {"prepare_epochs": 1},
    "crd": {"negatives": 8},
    "ft": {"prepare_epochs": 1},
    "rco": {"anchors": 2},
    "sskd": {"prepare_epochs": 1},
}
DISTILLERS = {name: SHORT.get(name, {}) for name in registry.shipped("distiller")}


class Allowed(NamedTuple):
    """Something that a step may do, although a GPU waits or copies for it."""

    kind: str
    file: str
    operation: str
    reason: str


STAGED = "at most 64 KB, which CUDA copies to its own memory at once"
TEACHERS_MAY = [
    Allowed(SMALL_COPY, "regularizers/mixup.py", "_to_copy", STAGED),
]


def check(notes: list[Note], allowed: list[Allowed] = ()) -> None:
    """Fail with operation, file and line of each note of a fault; waits are faults in steps only.

    An entry of the list that never happened fails, too: it must go.
    """
    in_steps = [note for note in notes if note.phase == "step"]
    faults = [note for note in notes if note.kind not in (WAIT, SMALL_COPY)]
    entries = {entry[:3] for entry in allowed}
    found = {(note.kind, note.file, note.operation): note for note in in_steps}
    faults += [
        note
        for note in in_steps
        if note.kind in (WAIT, SMALL_COPY) and (note.kind, note.file, note.operation) not in entries
    ]
    counts = Counter(map(str, faults))
    assert not faults, "\n".join(f"{n} times: {text}" for text, n in counts.most_common())
    stale = [entry for entry in allowed if entry[:3] not in found]
    assert not stale, f"allowed, but it never happens: {stale}"


MOST_AT_END = 8
"""Waits of one line of code at the end of an epoch: one, or one for each loss."""


def check_ends(gpu: PretendedGPU) -> None:
    """Fail if a line waits for each batch or image at the ends of epochs."""
    ends = [note for note in gpu.notes if note.phase == "epoch" and note.kind == WAIT]
    counts = Counter(f"soteacher/{note.file}:{note.line}" for note in ends)
    many = {place: n for place, n in counts.items() if n > MOST_AT_END * gpu.calls["epoch"]}
    assert not many, f"waits in {gpu.calls['epoch']} starts and ends of epochs: {many}"


@pytest.fixture
def gpu(monkeypatch) -> PretendedGPU:
    """A pretended GPU that tells the steps of a pass from the ends of epochs and from saves."""
    gpu = PretendedGPU()

    def in_phase(owner, name, phase):
        @functools.wraps(vars(owner)[name])
        def wrapped(*args, **kwargs):
            with gpu.phase(phase):
                return wrapped.__wrapped__(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    in_phase(passes, "run_pass", "step")  # all of it, but what follows
    for owner, name in ((Learner, "step"), (Stream, "batch"), (FrozenTeacher, "__call__")):
        in_phase(owner, name, "step")  # a pass catches their errors
    in_phase(Learner, "_end_epoch", "epoch")
    in_phase(Stream, "_draw", "epoch")
    in_phase(OutOfFoldTeacher, "_draw", "epoch")
    in_phase(FrozenTeacher, "_load", "load")
    in_phase(state, "save", "save")
    in_phase(learner_module, "weights_writer", "keep")
    in_phase(Pass, "_finish", "end")
    return gpu


def train(lab, runs, device):
    """Train runs in one job; return their entries in the manifest."""
    asked = {
        run.id: {
            "spec": run.spec.to_json(),
            **({"teacher": run.teacher.id} if run.teacher else {}),
        }
        for run in runs
    }
    return run_job(asked, lab.data, lab.entries, JobOptions(lab.store, device, 1, True, 3600.0))[
        "runs"
    ]


@pytest.fixture
def rare_saves(monkeypatch) -> None:
    """No saves but those of initial states: each copies and checks hundreds of tensors."""
    monkeypatch.setattr(loop, "EPOCH_SAVE_SECONDS", 3600.0)


ROUNDED = {"lipschitz", "l1"}
"""Terms whose sum a GPU adds in another order than a CPU; their gradients have the same bits."""


def check_equal(lab, gpu, runs, allowed=()):
    """Train runs on the CPU and on the pretended GPU; compare all hashes of their artifacts.

    The history of a run with a rounded term is compared as numbers.
    """
    cpu, cuda = lab.copy(), lab.copy()
    here = train(cpu, runs, "cpu")
    assert {entry["status"] for entry in here.values()} == {"done"}
    failed = there = None
    try:
        with gpu:
            there = train(cuda, runs, "cuda")
    except RunsFailed as error:
        failed = error
    check(gpu.notes, allowed)
    check_ends(gpu)
    assert failed is None, failed
    for run in runs:
        if not ROUNDED.isdisjoint(run.spec.terms):
            numbers = [history(run, of[run.id], in_) for of, in_ in ((here, cpu), (there, cuda))]
            pd.testing.assert_frame_equal(*numbers, rtol=1e-6)
            for entries in (here, there):
                del entries[run.id]["artifacts"]["history.csv"]
    assert [run_id for run_id in here if there[run_id] != here[run_id]] == []


def history(run, entry, lab):
    """Return the history of a run, as numbers."""
    return pd.read_csv(RunFolder(lab.store, entry["fingerprint"], run.id).artifact("history.csv"))


def plan_of(lab, pair=SAME, recipe=RECIPE, **changes):
    """Return the teachers and students of a pair."""
    pairs = {pair: {"data": "few", "teacher_recipe": "short", "student_recipe": "short"}}
    return lab.plan(recipes={"short": recipe}, pairs=pairs, **changes)


def test_every_teacher_method_has_the_cpu_s_results_and_no_step_waits(lab, gpu, rare_saves):
    data = {"few": {"source": "few_digits", "augment": AUGMENT | {"rotation": 20}}}
    teachers, _ = plan_of(lab, recipe=RECIPE | {"batch": 64}, data=data, teachers=METHODS)
    check_equal(lab, gpu, teachers, TEACHERS_MAY)


@pytest.mark.parametrize("pair", [SAME, OTHER])
def test_every_distiller_has_the_cpu_s_results_and_no_step_waits(lab, gpu, rare_saves, pair):
    recipe = RECIPE | {"batch": 64 if pair == OTHER else 40}  # one step an epoch, or two
    teachers, students = plan_of(lab, pair, recipe, distillers=DISTILLERS)
    lab.run(teachers)
    check_equal(lab, gpu, students)


def test_a_student_of_an_oracle_has_the_cpu_s_results_and_no_step_waits(lab, gpu, rare_saves):
    known = {"source": "few_digits", "augment": AUGMENT, "true_labels": {"confusion": 0.3}}
    study = {"data": {"few": known}, "teachers": {"oracle": {"oracle": True}}}
    [oracle], students = plan_of(lab, **study)
    prepare(oracle.spec.data, lab.store)
    [folder] = lab.store.glob("data/*")
    lab.data = stored_data(folder)
    lab.run([oracle])
    check_equal(lab, gpu, students)


def test_a_student_of_a_cross_fitted_teacher_has_the_cpu_s_results_and_no_step_waits(
    lab, gpu, rare_saves
):
    [teacher], students = plan_of(lab, teachers={"crossed": {"cross_fit": 3}})
    lab.run([teacher])
    check_equal(lab, gpu, students)


@pytest.fixture
def small_evaluations(monkeypatch) -> None:
    """Evaluations take 25 batches: a wait for each of them counts."""
    monkeypatch.setattr(evaluate, "BATCH", 2)


def test_ends_of_epochs_and_saves_wait_a_few_times(lab, gpu, small_evaluations):
    """An epoch waits 3 times for its draws, 4 at its end, and once per loss; a save per tensor."""
    [teacher], _ = plan_of(lab, recipe=RECIPE | {"keep_every": 0})
    with gpu:
        train(lab, [teacher], "cuda")
    check_ends(gpu)
    waits = Counter(note.phase for note in gpu.notes if note.kind == WAIT)
    assert 0 < waits["epoch"] / RECIPE["epochs"] <= 3 + 4 + 1
    assert 0 < gpu.calls["save"] <= RECIPE["epochs"] + 1
    tensors = 2 * len(catalogue.build("wrn_10_2", 10).state_dict())  # with all momenta
    assert 0 < waits["save"] / gpu.calls["save"] <= tensors + 3


AT_ENDS = {
    "an evaluation by batch": (
        Evaluator, "top1", "(predicted == self._test_classes).sum().item()",
        "sum(part.sum().item() for part in (predicted == self._test_classes).split(2))"),
    "a value of each image": (
        Learner, "_end_epoch", "self.n_correct.item()",
        "self.n_correct.item() + 0 * sum(map(int, self.stream.labels))"),
}  # fmt: skip
"""Owner, function, text and its replacement."""


@pytest.mark.parametrize("name", AT_ENDS)
def test_many_waits_at_the_ends_of_epochs_are_noted_with_their_line(
    lab, gpu, taught, monkeypatch, name
):
    file, line = mutate(monkeypatch, *AT_ENDS[name])
    notes_of_mutant(lab, gpu, taught)
    with pytest.raises(AssertionError, match=f"soteacher/{file}:{line}"):
        check_ends(gpu)


def test_an_allowed_wait_that_never_happens_is_a_fault():
    note = Note("step", WAIT, "item", "terms.py", 3)
    check([note], [Allowed(WAIT, "terms.py", "item", "a reason")])
    with pytest.raises(AssertionError, match=r"it never happens: .*'stale.py'"):
        check([note], [Allowed(WAIT, f, "item", "") for f in ("terms.py", "stale.py")])
    with pytest.raises(AssertionError, match=r"wait in step: item at soteacher/terms.py:3"):
        check([note])
    with pytest.raises(AssertionError, match=r"mixed devices in save: add at soteacher/terms.py:3"):
        check([Note("save", MIXED, "add", "terms.py", 3)])


def mutate(monkeypatch, owner, name, old, new):
    """Replace a text in a function of the package; return file and line of the change."""
    present = vars(owner)[name]
    function = inspect.unwrap(present)
    lines, first = inspect.getsourcelines(function)
    source = textwrap.dedent("".join(lines))
    assert source.count(old) == 1, f"{name} has changed: the mutant must, too"
    file = inspect.getsourcefile(function)
    code = compile(
        "\n" * (first - 1) + source.replace(old, new), file, "exec", annotations.compiler_flag
    )
    made = {}
    exec(code, function.__globals__, made)
    if present is function:
        monkeypatch.setattr(owner, name, made[name])
    else:  # the fixture's wrapper, which tells the phase, stays
        monkeypatch.setattr(present, "__wrapped__", made[name])
    line = first + source[: source.index(old)].count("\n")
    return str(Path(file).relative_to(PACKAGE)), line


@pytest.fixture(scope="module")
def taught(tmp_path_factory) -> dict:
    """The store with the teacher of all mutants, once one of them has trained it."""
    return {"store": tmp_path_factory.mktemp("taught") / "store"}


def notes_of_mutant(lab, gpu, taught, **method):
    """Train a student of one step, or a teacher, on the pretended GPU; return the faults' notes."""
    recipe = {"epochs": 1, "batch": 64, "lr": 0.02, "decay_at": []}
    settings = {"teachers": {"method": method}} if method else {}
    teachers, students = plan_of(lab, recipe=recipe, **settings)
    if not method and "entries" not in taught:
        taught["entries"] = lab.run(teachers)
        lab.store.rename(taught["store"])
    if not method:
        shutil.copytree(taught["store"], lab.store)
        lab.entries |= taught["entries"]
    with suppress(RunsFailed), gpu:
        train(lab, teachers if method else students, "cuda")
    return [n for n in gpu.notes if n.phase == "step" or n.kind not in (WAIT, SMALL_COPY)]


LOGITS = "output.logits"
IN_A_LOSS = {
    "item": (f"{LOGITS}.sum().item()", WAIT),
    "float": (f"float({LOGITS}.detach().sum())", WAIT),
    "condition": (f"(1 if {LOGITS}.sum() > 0 else 2)", WAIT),
    "maximum": (f"max({LOGITS}.sum(), 0)", WAIT),
    "text": (f"len(f'{{{LOGITS}.sum():.3f}} {{{LOGITS}}}')", WAIT),
    "list": (f"{LOGITS}.tolist()[0][0]", WAIT),
    "copy out": (f"{LOGITS}.cpu().sum().item()", WAIT),
    "NumPy array": (f"{LOGITS}.detach().numpy().sum()", ERROR),
    "synchronize": ("(torch.cuda.synchronize() or 1)", WAIT),
    "stream": ("(torch.cuda.current_stream().synchronize() or 1)", WAIT),
    "mask": (f"{LOGITS}[{LOGITS} > 0].sum()", WAIT),
    "masked_select": (f"{LOGITS}.masked_select({LOGITS} > 0).sum()", WAIT),
    "nonzero": (f"{LOGITS}.nonzero().sum()", WAIT),
    "where": (f"torch.where({LOGITS} > 0)[0].sum()", WAIT),
    "unique": (f"{LOGITS}.unique().sum()", WAIT),
    "bincount": ("batch.labels.bincount().sum()", WAIT),
    "one_hot": ("torch.nn.functional.one_hot(batch.labels).sum()", WAIT),
    "repeat_interleave": ("batch.labels.repeat_interleave(batch.labels).sum()", WAIT),
    "equal": (f"torch.equal({LOGITS}, {LOGITS})", WAIT),
    "allclose": (f"torch.allclose({LOGITS}, {LOGITS})", WAIT),
    "tensor": (f"torch.tensor([1.0], device={LOGITS}.device).sum()", WAIT),
    "as_tensor": (f"torch.as_tensor(1.0, device={LOGITS}.device)", WAIT),
    "new_tensor": (f"{LOGITS}.new_tensor([1.0]).sum()", WAIT),
    "pageable copy": (f"torch.ones(3).to({LOGITS}.device).sum()", WAIT),
    "large copy": (f"torch.ones(20000).to({LOGITS}.device, non_blocking=True).sum()", WAIT),
    "small copy": (f"torch.ones(3).to({LOGITS}.device, non_blocking=True).sum()", SMALL_COPY),
    "list as index": (f"{LOGITS}[[0, 1]].sum()", WAIT),
    "CPU index": (f"{LOGITS}[torch.arange(3)].sum()", WAIT),
    "scatter_add": (f"{LOGITS}.scatter_add(1, {LOGITS}.argmax(1)[:, None], {LOGITS}).sum()", WAIT),
    "gradient of gather": (f"{LOGITS}.gather(1, batch.labels[:, None]).sum()", WAIT),
    "gradient of max": (f"{LOGITS}.max(dim=1).values.sum()", WAIT),
    "inverse": (f"torch.linalg.inv({LOGITS}.T @ {LOGITS} + torch.eye(10, device={LOGITS}.device))"
                ".sum().detach()", WAIT),
    "gradient of prod": (f"{LOGITS}.prod(dim=1).sum()", WAIT),
    "gradient of cumprod": (f"{LOGITS}.cumprod(dim=1).sum()", WAIT),
    "gradient of masked_scatter": (
        f"{LOGITS}.masked_scatter({LOGITS} > 0, {LOGITS}).sum()", WAIT),
    "pseudoinverse": (f"torch.linalg.pinv({LOGITS}.detach()).sum()", WAIT),
    "CPU tensor": (f"({LOGITS} + torch.ones(10)).sum()", MIXED),
    "CPU scalar in stack": (f"torch.stack([{LOGITS}.sum(), torch.ones(())]).sum()", MIXED),
    "CPU generator": (f"torch.rand(3, generator=torch.Generator(), device={LOGITS}.device).sum()",
                      MIXED),
    "median": (f"{LOGITS}.median(dim=1).values.sum().detach()", REFUSED),
    "kthvalue": (f"{LOGITS}.kthvalue(2).values.sum().detach()", REFUSED),
    "put_": (f"{LOGITS}.detach().clone().put_(batch.labels, {LOGITS}[:, 0].detach()).sum()",
             REFUSED),
    "histc": (f"{LOGITS}.detach().histc().sum()", REFUSED),
    "gradient of adaptive pooling": (
        "torch.nn.functional.adaptive_avg_pool2d(output.features['stage1'], 3).sum()", REFUSED),
    "gradient of interpolation": (
        "torch.nn.functional.interpolate(output.features['stage1'], 3, mode='bicubic').sum()",
        REFUSED),
    "largest of a bag": (
        f"torch.nn.functional.embedding_bag(batch.labels[None], {LOGITS}, mode='max').sum()",
        REFUSED),
    "reflection": (
        "torch.nn.functional.pad(output.features['stage1'], (1, 1, 1, 1), 'reflect').sum()",
        REFUSED),
}  # fmt: skip
"""A fault to what computes it in the loss of a distiller, and the kind of its note."""


@pytest.mark.parametrize("name", IN_A_LOSS)
def test_a_fault_in_a_loss_is_noted_with_its_line(lab, gpu, taught, monkeypatch, name):
    """The line is known also where a backward pass makes the fault."""
    expression, kind = IN_A_LOSS[name]
    old = "self.ce * cross_entropy(batch, output)"
    place = mutate(monkeypatch, Distiller, "losses", old, f"{old} + 0 * ({expression})")
    notes = notes_of_mutant(lab, gpu, taught)
    assert (kind, *place) in {(note.kind, note.file, note.line) for note in notes}, notes
    with pytest.raises(AssertionError, match=rf"{kind} in step: .* at soteacher/{place[0]}:\d+"):
        check(notes)
    assert {note.line for note in notes if note.file == place[0]} == {place[1]}


ELSEWHERE = {
    "a wait in the loop of a pass": (
        passes, "run_pass", "group.step(", "torch.cuda.synchronize(); group.step(", WAIT, {}),
    "a loss's value in the loop of a pass": (
        loop._Group, "step", "list(self.running)", "list(self.running) * int(batch.labels[0] >= 0)",
        WAIT, {}),
    "a loss's value in a step": (Learner, "step", "loss.detach()", "loss.item()", WAIT, {}),
    "a condition in a step": (
        Learner, "step", "self.optimizer.step()",
        "self.optimizer.step() if losses['ce'] < 1e9 else None", WAIT, {}),
    "indices on the CPU in a batch": (
        Stream, "batch", "epoch.order[part]", "epoch.order[part].cpu()", WAIT, {}),
    "a mask in a batch": (
        Stream, "_batch", "self.labels[indices]", "self.labels[indices][indices >= 0]", WAIT, {}),
    "the teacher's outputs on the CPU": (
        FrozenTeacher, "__call__", "batch.images",
        "batch.images.cpu().to(batch.images.device)", WAIT, {}),
    "a number in the consistency penalty": (
        ConsistencyPenalty, "unchecked", "finite = logits", "logits.sum().item(); finite = logits",
        WAIT, {"consistency": {}}),
    "the CPU in the Lipschitz penalty": (
        lipschitz_formula, "lipschitz_sum", "weight = at_least_float32(_weight(layer))",
        "weight = at_least_float32(_weight(layer)) + torch.zeros(1)", MIXED, {"lipschitz": {}}),
}  # fmt: skip
"""Owner, function, text, its replacement, kind of the note, and the teacher method, if any."""


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_fault_elsewhere_is_noted_with_its_line(lab, gpu, taught, monkeypatch, name):
    owner, function, old, new, kind, method = ELSEWHERE[name]
    place = mutate(monkeypatch, owner, function, old, new)
    notes = notes_of_mutant(lab, gpu, taught, **method)
    assert (kind, *place) in {(note.kind, note.file, note.line) for note in notes}, notes


def test_where_tests_run_on_cuda_a_step_must_not_wait_but_the_end_of_an_epoch_may(
    lab, monkeypatch, steps_must_not_wait
):
    modes, seen = ["default"], {}
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def note(owner, name):
        function = getattr(owner, name)

        def noted(*arguments):
            seen[name] = modes[-1]
            return function(*arguments)

        monkeypatch.setattr(owner, name, noted)

    note(Learner, "losses")
    note(Evaluator, "top1")
    teachers, _ = plan_of(lab)
    lab.run(teachers)
    assert seen == {"losses": "error", "top1": "default"}
    assert modes[-1] == "default"


PENALTIES = {
    "lipschitz": (LipschitzPenalty, {}, 0),
    "lipschitz, induced": (LipschitzPenalty, {"norm": "induced"}, 0),
    "lipschitz, induced_strided": (LipschitzPenalty, {"norm": "induced_strided"}, 0),
    "l1": (L1Penalty, {}, 0),
    "consistency": (ConsistencyPenalty, {"n_images": 16, "n_classes": 10, "epochs": 3}, 1),
    "crl": (CorrectnessRankingPenalty, {"n_images": 16}, 2),
}
"""Class, settings, and the number of its checks of values, each of which waits for the GPU once."""


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_in_an_own_loop_has_the_cpu_s_bits_and_waits_for_its_checks_only(gpu, name):
    kind, settings, checks = PENALTIES[name]

    def two_steps(device):
        """Return losses, and gradients and memory, of two steps as a loop of a user takes them."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = catalogue.build("wrn_10_1", 10).to(device)
            images, labels = torch.randn(8, 3, 8, 8).to(device), torch.arange(8).to(device)
        penalty, indices = kind(**settings).to(device), torch.arange(4, 12).to(device)
        losses = []
        for epoch in range(2):
            with gpu.phase("step"):
                logits = network(images).logits
                if kind is ConsistencyPenalty:
                    loss = penalty(logits, indices, epoch)
                elif kind is CorrectnessRankingPenalty:
                    loss = penalty(logits, labels, indices, epoch)
                else:
                    loss = penalty(network)
                (loss + logits.square().mean()).backward()
            losses.append(loss.detach())
        gradients = [parameter.grad for parameter in network.parameters()]
        kept = [value.cpu() for value in (*gradients, *penalty.buffers())]
        return torch.stack(losses).cpu(), kept

    here, kept_here = two_steps("cpu")
    with gpu:
        there, kept_there = two_steps("cuda")
    torch.testing.assert_close(there, here, rtol=1e-6 if name in ROUNDED else 0, atol=0)
    assert all(torch.equal(*pair) for pair in zip(kept_here, kept_there, strict=True))
    waits = [note for note in gpu.notes if note.phase == "step"]
    check([note for note in waits if note.file != "penalties/checks.py"])
    assert len(waits) == 2 * checks


@pytest.mark.parametrize("name", registry.shipped("distiller"))
def test_a_loss_module_that_was_moved_has_the_cpu_s_bits_and_never_waits(gpu, name):
    def two_steps(device):
        """Return losses, gradients and what is remembered after two steps in a loop of a user."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            student, teacher = (catalogue.build(n, 10) for n in ("wrn_10_1", "wrn_10_2"))
            images, labels = torch.randn(8, 3, 8, 8), torch.arange(8)
            kind = getattr(losses, registry.get("distiller", name).__name__)
            shapes = student(images), teacher(images)
            few = {"labels": torch.arange(32) % 10, "negatives": 20} if name == "crd" else {}
            loss = kind(*shapes, **few)
            if loss.prepared:
                loss.first_stage().finish()
        for module in (student, teacher.eval(), loss):
            module.to(device)
        turned = [images.rot90(turn, (2, 3)) for turn in range(loss.turns)]
        images, labels = torch.cat(turned).to(device), labels.to(device)
        with torch.no_grad():
            target = teacher(images)
        found = []
        for epoch in range(2):
            with gpu.phase("step" if epoch else "move"):  # the first call moves a memory
                total = loss(student(images), target, labels, labels, epoch)
                total.backward()
            found.append(total.detach())
        kept = [*loss.layers.parameters(), *student.parameters()]
        kept = [value.grad for value in kept if value.grad is not None]
        return [value.cpu() for value in (*found, *kept, *loss.memory.buffers())]

    here = two_steps("cpu")
    with gpu:
        there = two_steps("cuda")
    assert len(here) == len(there) > 20
    assert all(torch.equal(*pair) for pair in zip(here, there, strict=True))
    check([note for note in gpu.notes if note.phase == "step"])


@pytest.mark.parametrize("penalty", [lipschitz_formula.lipschitz_sum, l1_formula.l1_sum])
def test_the_layers_of_a_network_may_be_on_several_devices(gpu, penalty):
    def found(moved):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = torch.nn.Sequential(
                torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2)
            )
        for layer in moved:
            network[layer].to("cuda")
        total = penalty(network)
        total.backward()
        weights = [layer.weight for layer in network if layer.weight.grad is not None]
        assert all(weight.grad.device == weight.device for weight in weights)
        return [total.detach().cpu(), *(weight.grad.cpu() for weight in weights)]

    expected = found(())
    with gpu:
        for moved in ((0,), (1,), (2,), (0, 2)):
            torch.testing.assert_close(found(moved), expected, rtol=1e-6, atol=0)
