"""A plan while it is built: tables and figures ask for runs, and equal runs are one run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from soteacher.core.errors import UserError
from soteacher.core.recipe import Recipe
from soteacher.distillers.base import Distiller
from soteacher.models import catalogue
from soteacher.regularizers.base import ImageChange, Regularizer
from soteacher.study.runs import Run
from soteacher.study.schema import Components, networks, regularizers
from soteacher.study.setting_change import Change
from soteacher.study.specs import NetworkSpec, Role, RunSpec, StreamSpec, TermSpec


class Expansion:
    """Hands out runs, and notes which table or figure asked for each."""

    def __init__(self, study: Components) -> None:
        self.study = study
        self.runs: dict[str, Run] = {}
        self.wanted: dict[str, set[str]] = {}
        self._methods: dict[str, dict[str, dict[str, TermSpec]]] = {}
        """Data set to what each teacher method is there."""

    def teacher(
        self, block: str, pair_name: str, method: str, seed: int, change: Change | None = None
    ) -> Run:
        """Return the run of a pair's teacher; the block asks for it."""
        return self._add(block, self.teacher_run(pair_name, method, seed, change))

    def teacher_run(
        self, pair_name: str, method: str, seed: int, change: Change | None = None
    ) -> Run:
        """Return the run of a pair's teacher; no block asks for it by that.

        change : of one setting of the method. If the changed method equals another method of the
        study, the run is that one's.
        """
        study = self.study
        pair = study.pairs[pair_name]
        network, _ = networks(pair_name, pair)
        regularizers = self._regularizers(method, pair.data, change)
        terms = {name: TermSpec.of(term) for name, term in regularizers.items()}
        table5 = study.teachers[method].table5
        alike = self._alike(terms, pair.data)
        if change is None:  # the first method that is the same, and has students with the same
            method = next(name for name in alike if study.teachers[name].table5 == table5)
        elif alike:
            method, table5 = alike[0], study.teachers[alike[0]].table5
        else:
            method = f"{method}.{change}"
        recipe = study.recipes[pair.teacher_recipe].for_network(network)
        spec = self._spec("teacher", pair.data, network, recipe, terms, seed)
        for term in regularizers.values():
            if isinstance(term, ImageChange) and term.views != 1:
                spec = replace(spec, stream=replace(spec.stream, views=term.views))
        run_id = f"{pair.data}/{network}/{method}/seed{seed}"
        return Run(run_id, pair.data, spec, table5=table5)

    def student(
        self, block: str, pair_name: str, distiller: str, teacher: Run, epoch: int | None = None
    ) -> Run:
        """Return the run of a pair's student of that teacher, or of an earlier epoch of it."""
        study = self.study
        pair = study.pairs[pair_name]
        _, network = networks(pair_name, pair)
        student = study.distillers[distiller]
        recipe = study.recipes[pair.student_recipe].for_network(network)
        term = student.distiller.for_teacher(teacher.table5)
        last = teacher.spec.recipe.epochs
        epochs, last_used = recipe.epochs, last if epoch is None else epoch
        _check_kept(f"{block}: {distiller}", term, epochs, teacher, last_used)
        terms = {student.method: TermSpec.of(term)}
        spec = self._spec("student", pair.data, network, recipe, terms, teacher.spec.seed)
        spec = replace(
            spec.as_teacher(),
            teacher=teacher.spec.as_teacher(),
            stream=replace(spec.stream, turns=term.turns),
        )
        home = teacher.id
        if epoch is not None and epoch != last:
            spec = replace(spec, teacher_epoch=epoch)
            home = f"{teacher.id}/epoch{epoch:03d}"
        return self._add(block, Run(f"{home}/{network}/{distiller}", pair.data, spec, teacher))

    def _spec(
        self,
        role: Role,
        data: str,
        network: str,
        recipe: Recipe,
        terms: dict[str, TermSpec],
        seed: int,
    ) -> RunSpec:
        family, _ = catalogue.find(network)
        return RunSpec(
            role=role,
            data=self.study.data[data].data_spec,
            stream=StreamSpec(self.study.data[data].augment),
            network=NetworkSpec(network, family.revision),
            recipe=recipe,
            terms=terms,
            seed=seed,
            precision=self.study.precision,
        )

    def _regularizers(
        self, method: str, data: str, change: Change | None
    ) -> dict[str, Regularizer]:
        terms = regularizers(self.study, method, data)
        return terms if change is None else change.of(terms)

    def _alike(self, terms: dict[str, TermSpec], data: str) -> list[str]:
        """The methods of the study that are these terms, in its order."""
        if data not in self._methods:
            self._methods[data] = {}
            for name in self.study.teachers:
                with suppress(UserError):  # where a method has no weight for this data set
                    found = self._regularizers(name, data, None)
                    self._methods[data][name] = {n: TermSpec.of(t) for n, t in found.items()}
        return [name for name, known in self._methods[data].items() if known == terms]

    def _add(self, block: str, run: Run) -> Run:
        known = self.runs.setdefault(run.id, run)
        if known.spec != run.spec:
            raise UserError(
                f"{block}: two pairs of the study train '{run.id}' with different recipes; "
                "a network of one data set and method has one recipe in a study"
            )
        self.wanted.setdefault(run.id, set()).add(block)
        return known


def _check_kept(who: str, term: Distiller, epochs: int, teacher: Run, last: int) -> None:
    """The teacher must keep its weights of every epoch that a distiller takes them of."""
    every, final = teacher.spec.recipe.keep_every, teacher.spec.recipe.epochs
    asked = sorted({*term.teacher_epochs(epochs, last)})
    lost = [n for n in asked if n != final and (n < 1 or not every or n % every)]
    if lost:
        kept = f"every {every} of its {final}" if every else f"the last of its {final} only"
        raise UserError(
            f"{who} learns from {teacher.id} as it was after epochs "
            f"{', '.join(map(str, asked))}, but its recipe keeps the weights of {kept}; set "
            "keep_every to a divisor of those, or ask for others"
        )
