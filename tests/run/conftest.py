"""Small studies on a few real images, trained in this process, in stores of their own."""

from __future__ import annotations

import csv
import importlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from small_study import DEVICE, STUDY

from soteacher.cli import main
from soteacher.core import files, registry
from soteacher.core.cursor import Cursor
from soteacher.data.prepared import Prepared, open_prepared, prepare
from soteacher.data.spec import DataSpec
from soteacher.store.run_folder import RunFolder
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.plan import Plan
from soteacher.study.runs import Job, Run
from soteacher.study.specs import fingerprint
from soteacher.training.job import run_job
from soteacher.training.learner import Learner
from soteacher.training.members import JobOptions

FEW_DIGITS = '''
"""The first of the digits: two steps an epoch, the second one short."""

from __future__ import annotations

from dataclasses import replace

from soteacher.data.sources.base import ImageSet, Outline, Source
from soteacher.data.sources.digits import Digits
from soteacher.core.registry import register


@register
class FewDigits(Source):
    """64 training and 50 test images."""

    def outline_of_images(self) -> Outline:
        """Return the numbers above, and 8x8 pixels of ten classes."""
        return Outline(64, 50, height=8, width=8, n_classes=10)

    def read(self) -> ImageSet:
        """Return the first images of both splits."""
        digits = Digits().read()
        return replace(
            digits,
            train_images=digits.train_images[:64],
            train_labels=digits.train_labels[:64],
            test_images=digits.test_images[:50],
            test_labels=digits.test_labels[:50],
        )
'''

STRAYING = '''
"""Divergence at a chosen step, whatever has been learnt until then."""

from __future__ import annotations

from soteacher.distillers.base import Distiller
from soteacher.core.registry import register
from soteacher.regularizers.base import Regularizer


@register
class Straying({base}):
    """Adds nothing, but lets each network whose last features are 128 wide diverge, as WRN10-2."""

    epoch: int = 0
    step: int = 1
    silently: bool = False
    """The loss of that step stays 0, and its gradient alone is no number."""

    def {losses}(self, batch, output, teacher, network):
        size = output.logits.square().mean()
        if (batch.cursor.epoch, batch.cursor.step) != (self.epoch, self.step):
            return {{"straying": 0 * size}}
        if output.features["pooled"].shape[1] != 128:
            return {{"straying": 0 * size}}
        return {{"straying": (0 * size).sqrt() if self.silently else float("inf") * size}}
'''
"""Of a teacher as a regularizer, of a student as a distiller."""


class Lab:
    """A store, data, and what has been trained there so far."""

    device = DEVICE

    def __init__(self, store: Path, data: Prepared) -> None:
        self.store, self.data = store, data
        self.entries: dict[str, dict[str, Any]] = {}
        """All manifests together: run id to entry."""

    def plan(self, **changes: Any) -> tuple[list[Run], list[Run]]:
        """Teachers and students of the small study, with other values for some of its keys."""
        runs = self.whole_plan(**changes).runs.values()
        return [run for run in runs if not run.teacher], [run for run in runs if run.teacher]

    def whole_plan(self, **changes: Any) -> Plan:
        """The plan of the small study, with other values for some of its keys."""
        study = STUDY | changes
        names = {key: list(study[key]) for key in ("teachers", "distillers")}
        study["tables"] = {"every": {"kind": "accuracy", **names}}
        return expand(read(study))

    def run(
        self,
        runs: Iterable[Run],
        save_every: float = 60.0,
        allow_cpu: bool = False,
        one_by_one: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """Run one job; return its manifest's entries."""
        asked = Job("", "", "", tuple(runs)).request
        how = JobOptions(self.store, self.device, 1, True, save_every, allow_cpu, one_by_one)
        entries = run_job(asked, self.data, self.entries, how)["runs"]
        self.entries |= entries
        return entries

    def copy(self) -> Lab:
        """Another lab where all of this one's runs are, too."""
        number = len(list(self.store.parent.iterdir()))
        store = self.store.with_name(f"store-{number}")
        if self.store.exists():
            shutil.copytree(self.store, store)
        else:
            store.mkdir()
        copy = Lab(store, self.data)
        copy.entries = dict(self.entries)
        return copy

    def elsewhere(self, jobs: Iterable[Iterable[Run]]) -> dict[str, dict[str, Any]]:
        """Run jobs one after the other in a copy of this lab; return all their entries."""
        copy = self.copy()
        return {run_id: entry for runs in jobs for run_id, entry in copy.run(runs).items()}

    def folder(self, run: Run) -> RunFolder:
        """The run's place in the store."""
        return RunFolder(self.store, fingerprint(run.spec, self.data.sha256), run.id)

    def record(self, run: Run) -> dict[str, Any]:
        """The run's `run.json`."""
        return self.folder(run).record()

    def history(self, run: Run) -> list[dict[str, str]]:
        """The run's finished epochs."""
        with open(self.folder(run).artifact("history.csv"), newline="") as file:
            return list(csv.DictReader(file))

    def stored(self, role: str) -> list[RunFolder]:
        """The places of all runs of a role in the store, finished or not."""
        found = []
        for path in sorted(self.store.glob("runs/*/spec.json")):
            facts = files.read_json(path, "a description")
            if facts["spec"]["role"] == role:
                found.append(RunFolder(self.store, path.parent.name, facts["id"]))
        return found


@contextmanager
def _added(folder: Path, kind: str, name: str, code: str) -> Iterator[ModuleType]:
    """A part added as users add one, a file; it lies in another folder of the part's package."""
    package = importlib.import_module(registry.PACKAGES[kind])
    place = folder / kind / name
    place.mkdir(parents=True)
    (place / f"{name}.py").write_text(code)
    package.__path__.append(str(place))
    importlib.invalidate_caches()
    registry.clear()
    module = f"{package.__name__}.{name}"
    try:
        yield importlib.import_module(module)
    finally:
        package.__path__.remove(str(place))
        sys.modules.pop(module, None)  # another test may add another part of that name
        registry._parts.pop(module, None)
        registry.clear()


@pytest.fixture
def steps_must_not_wait(monkeypatch) -> None:
    """On CUDA, a step raises an error if it waits for the GPU; the end of an epoch may wait."""

    def set_mode(name: str, mode: str) -> None:
        function = getattr(Learner, name)

        def guarded(*arguments: Any) -> None:
            before = torch.cuda.get_sync_debug_mode()
            torch.cuda.set_sync_debug_mode(mode)
            try:
                function(*arguments)
            finally:
                torch.cuda.set_sync_debug_mode(before)

        monkeypatch.setattr(Learner, name, guarded)

    set_mode("step", "error")
    set_mode("_end_epoch", "default")


@pytest.fixture(autouse=True)
def on_the_chosen_device(request) -> None:
    """Skip what is for a CPU only if `SOTEACHER_TEST_DEVICE` is cuda, and watch steps there."""
    if DEVICE not in ("cpu", "cuda"):
        pytest.exit(f"SOTEACHER_TEST_DEVICE is '{DEVICE}'; expected cpu or cuda", returncode=2)
    if DEVICE == "cuda":
        if marker := request.node.get_closest_marker("cpu_only"):
            pytest.skip(marker.args[0])
        request.getfixturevalue("steps_must_not_wait")


@pytest.fixture
def add_part(tmp_path_factory) -> Iterator[Callable[[str, str, str], ModuleType]]:
    """A function (kind, name, code) that adds a part for one test and returns its module."""
    folder = tmp_path_factory.mktemp("parts")
    with ExitStack() as added:
        yield lambda kind, name, code: added.enter_context(_added(folder, kind, name, code))


@pytest.fixture(scope="session")
def few(tmp_path_factory) -> Prepared:
    """The few digits, prepared."""
    folder = tmp_path_factory.mktemp("few")
    with _added(folder, "data source", "few_digits", FEW_DIGITS):
        manifest = prepare(
            DataSpec.from_json({"source": "few_digits", "revision": 1}), folder / "store"
        )
    return Prepared(next(folder.glob("store/data/*")), manifest)


@pytest.fixture
def lab(few, add_part, tmp_path) -> Lab:
    """A lab with an empty store."""
    add_part("data source", "few_digits", FEW_DIGITS)
    return Lab(tmp_path / "store", few)


@pytest.fixture
def straying(add_part) -> None:
    """Teachers and students that diverge: a regularizer and a distiller of this name."""
    for base, losses in (("Regularizer", "losses"), ("Distiller", "method_losses")):
        add_part(base.lower(), "straying", STRAYING.format(base=base, losses=losses))


class Desk:
    """A working directory with study files in it, where the commands for people are given."""

    def __init__(self, lab: Lab, path: Path, said: pytest.CaptureFixture[str]) -> None:
        self.lab, self.path, self._said = lab, path, said

    def study(self, name: str = "small", prepared: bool = True, **changes: Any) -> Plan:
        """Write the small study, with other values for some keys, and its data's manifest."""
        study = STUDY | {"store": str(self.lab.store)} | changes | {"study": name}
        tables = {key: list(study[key]) for key in ("teachers", "distillers")}
        study["tables"] = {"every": {"kind": "accuracy", **tables}}
        (self.path / f"{name}.yaml").write_text(yaml.safe_dump(study))
        plan = expand(read(study))
        for data in study["data"] if prepared else ():
            manifest = prepare(plan.data_spec(data), self.lab.store)
            path = self.path / "results" / name / "data" / f"{data}.json"
            files.write_json(path, manifest)
            self.lab.data = open_prepared(path, self.lab.store)
        return plan

    def say(self, *arguments: str) -> str:
        """Give a command in this process; return what it printed."""
        self._said.readouterr()
        main(list(arguments))
        return self._said.readouterr().out

    def refused(self, *arguments: str, caplog: pytest.LogCaptureFixture) -> str:
        """Give a command that cannot be done; return its one line."""
        caplog.clear()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        assert ended.value.code == 2
        [record] = [one for one in caplog.records if one.levelno >= logging.ERROR]
        return record.getMessage().removeprefix("soteacher: error: ")


@pytest.fixture
def desk(lab, tmp_path, monkeypatch, capsys) -> Desk:
    """A desk beside the lab: the studies written there use its store."""
    monkeypatch.chdir(tmp_path)
    return Desk(lab, tmp_path, capsys)


class Killed(BaseException):
    """Ends a job at once, as a kill does: nothing in the package catches it."""


@pytest.fixture
def kill(monkeypatch) -> Callable[[str, Cursor], AbstractContextManager[None]]:
    """A context (end of an id, moment): once that run has taken that step, unsaved, all is over."""
    step = Learner.step

    @contextmanager
    def killing(name: str, moment: Cursor) -> Iterator[None]:
        def last_step(learner: Learner, batch: Any, teacher: Any) -> None:
            step(learner, batch, teacher)
            if learner.folder.id.endswith(name) and batch.cursor == moment:
                raise Killed

        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(Learner, "step", last_step)
            yield

    return killing
