"""The expansion of a study: tables and figures request runs, and equal runs become one run."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from dataclasses import replace

from soteacher.core.errors import UserError, short
from soteacher.core.places import MOST_BYTES
from soteacher.core.recipe import Recipe
from soteacher.regularizers.base import ImageChange, Regularizer
from soteacher.study.imported import imported_spec, path_of, weights_spec
from soteacher.study.kept_epochs import check_kept
from soteacher.study.oracle import oracle_spec
from soteacher.study.runs import Run, in_id
from soteacher.study.schema import Components, TeacherMethod, networks, regularizers
from soteacher.study.setting_change import Change
from soteacher.study.spec_parts import NetworkSpec, StreamSpec, TermSpec, WeightsSpec
from soteacher.study.specs import Role, RunSpec

MOST_RUNS = 100_000
"""Maximum number of runs of a study. The paper's study needs 466."""
ALONE = "alone"
"""The name of students alone in tables, and in the place of a teacher method in their runs' ids."""


class TooManyRuns(UserError):
    """The whole study is too large, not one table or figure."""


class Expansion:
    """Creates runs, and records which tables and figures need each run."""

    def __init__(self, study: Components) -> None:
        self.study = study
        self.runs: dict[str, Run] = {}
        self.wanted: dict[str, set[str]] = {}
        self._methods: dict[str, dict[str, dict[str, TermSpec]]] = {}
        """Data set to the loss terms of each teacher method on it."""
        self._known: dict[tuple[Hashable, ...], dict[int, Run]] = {}
        """All that determines a run but its seed, to seed to run. The first run is made from the
        study, the others from the first: a study of thousands of runs has few settings."""
        self._weights: dict[str, WeightsSpec] = {}
        """File of weights to its spec: a file is hashed once."""

    def remove(self, block: str) -> None:
        """Remove a table or figure, and the runs that only this one needs."""
        for run_id, blocks in [*self.wanted.items()]:
            blocks.discard(block)
            if not blocks:
                del self.wanted[run_id], self.runs[run_id]

    def teacher(
        self, block: str, pair_name: str, method: str, seed: int, change: Change | None = None
    ) -> Run:
        """Return the run of a pair's teacher, and record that the block needs it."""
        return self._add(block, self.teacher_run(pair_name, method, seed, change))

    def teacher_run(
        self, pair_name: str, method: str, seed: int, change: Change | None = None
    ) -> Run:
        """Return the run of a pair's teacher, without recording a block.

        change : a changed setting of the method, or None. If the changed method equals another
        method of the study, the run of that method is returned.
        """
        runs = self._known.setdefault(("teacher", pair_name, method, change), {})
        if seed not in runs:
            first = next(iter(runs.values()), None) or self._teacher(pair_name, method, change)
            run_id = f"{first.id.rpartition('/')[0]}/seed{seed}"
            runs[seed] = replace(first, id=run_id, spec=first.spec.with_seed(seed))
        return runs[seed]

    def _teacher(self, pair_name: str, method: str, change: Change | None) -> Run:
        """Return `teacher_run` of seed 0."""
        study = self.study
        pair = study.pairs[pair_name]
        if study.teachers[method].oracle and change is None:
            return self._oracle(method, pair.data)
        network, _ = networks(pair_name, pair)
        if study.teachers[method].weights:
            return self._imported(method, pair.data, network)
        regularizers = self._regularizers(method, pair.data, change)
        terms = {name: TermSpec.of(term) for name, term in regularizers.items()}
        settings = study.teachers[method]
        table5 = settings.table5
        equal = self._equal_methods(terms, settings, pair.data)
        if change is None:  # the first equal method with the same weights for its students
            method = next(name for name in equal if study.teachers[name].table5 == table5)
        elif equal:
            method, table5 = equal[0], study.teachers[equal[0]].table5
        else:
            method = f"{method}.{change}"
            if len(method) > MOST_BYTES:
                raise UserError(
                    f"the folder '{short(method)}' would have a name of {len(method)} characters, "
                    f"expected at most {MOST_BYTES}: choose a shorter name"
                )
        recipe = study.recipes[pair.teacher_recipe].for_network(network)
        if settings.fine_tune is not None:
            recipe = recipe.fine_tuned(settings.fine_tune)
        spec = self._spec("teacher", pair.data, network, recipe, terms)
        spec = replace(spec, held_out=settings.held_out)
        for term in regularizers.values():
            if isinstance(term, ImageChange) and term.views != 1:
                spec = replace(spec, stream=replace(spec.stream, views=term.views))
        return Run(f"{pair.data}/{in_id(network)}/{method}/seed0", pair.data, spec, table5=table5)

    def _oracle(self, method: str, data: str) -> Run:
        """Return the oracle of a data set: it is the same for all pairs and recipes."""
        study = self.study
        if study.data[data].true_labels is None:
            raise UserError(
                f"the oracle '{method}' predicts true label distributions, which are not known of "
                f"'{data}'; set the data set's `true_labels`, or leave out '{method}' or the pairs "
                "with this data set"
            )
        spec, table5 = oracle_spec(study.data[data].data_spec), study.teachers[method].table5
        equal = [name for name, m in study.teachers.items() if m.oracle and m.table5 == table5]
        return Run(f"{data}/{spec.network.name}/{equal[0]}/seed0", data, spec, table5=table5)

    def _imported(self, method: str, data: str, network: str) -> Run:
        """Return a teacher that was trained elsewhere: all pairs of its network share it."""
        settings = self.study.teachers[method]
        path = path_of(settings, method, network)
        if path not in self._weights:
            self._weights[path] = weights_spec(path, f"teachers.{method}.weights")
        of_data, weights = self.study.data[data].data_spec, self._weights[path]
        spec = imported_spec(of_data, NetworkSpec.of(network), weights, self.study.precision)
        run_id = f"{data}/{in_id(network)}/{method}/seed0"
        return Run(run_id, data, spec, table5=settings.table5, weights=path)

    def alone(self, block: str, pair_name: str, seed: int) -> Run:
        """Return the run of a pair's student alone, and record that the block needs it.

        It is the student's network, trained as students are but with labels alone: a run of the
        role teacher without regularizers.
        """
        runs = self._known.setdefault((ALONE, pair_name), {})
        if seed not in runs:
            pair = self.study.pairs[pair_name]
            _, network = networks(pair_name, pair)
            recipe = self.study.recipes[pair.student_recipe].for_network(network)
            spec = self._spec("teacher", pair.data, network, recipe, {}).without_checkpoints()
            run_id = f"{pair.data}/{in_id(network)}/{ALONE}/seed{seed}"
            runs[seed] = Run(run_id, pair.data, spec.with_seed(seed), alone=True)
        return self._add(block, runs[seed])

    def student(
        self, block: str, pair_name: str, distiller: str, teacher: Run, epoch: int | None = None
    ) -> Run:
        """Return the run of a pair's student of that teacher, or of the teacher's `epoch`."""
        # the specs of one teacher with several seeds share `unseeded`
        of_teacher = id(teacher.spec.unseeded), teacher.table5
        runs = self._known.setdefault(("student", pair_name, distiller, epoch, *of_teacher), {})
        seed = teacher.spec.seed
        if seed not in runs:
            if first := next(iter(runs.values()), None):
                assert first.teacher is not None
                run_id = teacher.id + first.id.removeprefix(first.teacher.id)
                spec = first.spec.with_seed(seed)
                runs[seed] = replace(first, id=run_id, spec=spec, teacher=teacher)
            else:
                runs[seed] = self._student(block, pair_name, distiller, teacher, epoch)
        return self._add(block, runs[seed])

    def _student(
        self, block: str, pair_name: str, distiller: str, teacher: Run, epoch: int | None
    ) -> Run:
        study = self.study
        pair = study.pairs[pair_name]
        _, network = networks(pair_name, pair)
        student = study.distillers[distiller]
        recipe = study.recipes[pair.student_recipe].for_network(network)
        term = student.distiller.for_teacher(teacher.table5)
        logits_only = vars(type(term)).get("logits_only", False)
        if teacher.spec.is_oracle and (not logits_only or term.needs_logit_sizes):
            raise UserError(
                f"{block}: {distiller} needs more of its teacher than each image's probabilities, "
                f"and the oracle {teacher.id} has nothing else; expected distillers that need only "
                "these, such as kd"
            )
        if teacher.spec.is_cross_fitted and not logits_only:
            raise UserError(
                f"{block}: {distiller} needs more of its teacher than each image's logits, and "
                f"{teacher.id} is cross-fitted: its networks have no features in common; expected "
                "distillers that need only logits, such as kd"
            )
        last = teacher.spec.recipe.epochs
        epochs, last_used = recipe.epochs, last if epoch is None else epoch
        check_kept(f"{block}: {distiller}", term, epochs, teacher, last_used)
        terms = {student.method: TermSpec.of(term)}
        spec = self._spec("student", pair.data, network, recipe, terms)
        spec = replace(
            spec.without_checkpoints(),
            seed=teacher.spec.seed,
            teacher=teacher.spec.as_teacher(),
            stream=replace(spec.stream, turns=term.turns),
        )
        parent_id = teacher.id
        if epoch is not None and epoch != last:
            spec = replace(spec, teacher_epoch=epoch)
            parent_id = f"{teacher.id}/epoch{epoch:03d}"
        run_id = f"{parent_id}/{in_id(network)}/{distiller}"
        return Run(run_id, pair.data, spec, teacher, pair=pair_name)

    def _spec(
        self,
        role: Role,
        data: str,
        network: str,
        recipe: Recipe,
        terms: dict[str, TermSpec],
    ) -> RunSpec:
        """Return a spec of seed 0."""
        return RunSpec(
            role=role,
            data=self.study.data[data].data_spec,
            stream=StreamSpec(self.study.data[data].augment),
            network=NetworkSpec.of(network),
            recipe=recipe,
            terms=terms,
            seed=0,
            precision=self.study.precision,
        )

    def _regularizers(
        self, method: str, data: str, change: Change | None
    ) -> dict[str, Regularizer]:
        terms = regularizers(self.study, method, data)
        return terms if change is None else change.of(terms)

    def _equal_methods(
        self, terms: dict[str, TermSpec], settings: TeacherMethod, data: str
    ) -> list[str]:
        """Return the methods with exactly these terms, images and epochs, in the study's order."""
        if data not in self._methods:
            self._methods[data] = {}
            trained = [name for name, m in self.study.teachers.items() if m.is_trained]
            for name in trained:
                with suppress(UserError):  # a method may have no weight for this data set
                    of_method = self._regularizers(name, data, None)
                    self._methods[data][name] = {n: TermSpec.of(t) for n, t in of_method.items()}
        teachers = self.study.teachers
        return [
            name
            for name, known in self._methods[data].items()
            if known == terms
            and teachers[name].held_out == settings.held_out
            and teachers[name].fine_tune == settings.fine_tune
        ]

    def _add(self, block: str, run: Run) -> Run:
        known = self.runs.setdefault(run.id, run)
        if len(self.runs) > MOST_RUNS:
            raise TooManyRuns(
                f"{block}: the study needs more than {MOST_RUNS} runs; expected fewer seeds, "
                "methods or values"
            )
        if known is not run and known.spec != run.spec:
            raise UserError(
                f"{block}: two pairs of the study train '{run.id}' with different recipes; "
                "expected one recipe for a network on one data set with one method"
            )
        self.wanted.setdefault(run.id, set()).add(block)
        return known
