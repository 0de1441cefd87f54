"""Reading a study file: every mistake is one line that says where, what, and what was expected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from soteacher import registry
from soteacher.errors import UserError, unknown
from soteacher.models import catalogue
from soteacher.settings import parse
from soteacher.study.schema import (
    NAME,
    PARTS,
    Augment,
    DataSet,
    Head,
    Student,
    Study,
    TeacherMethod,
    TrueLabels,
    networks,
)

RULES = ("all", "prepare", "teach", "distill", "measure", "table", "page")
"""What a table may not be called: each table is a target beside the workflow's rules."""


def load(path: Path) -> Study:
    """Read a study file; `UserError` (one line: key, expected, nearest known name) if it is bad."""
    try:
        values = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UserError(f"cannot read the study file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"cannot read the study file {path}: expected UTF-8 text") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping of study keys, see config/README.md")
    return read(values, str(path))


def read(values: Mapping[str, Any], where: str = "study") -> Study:
    """Make a study of plain values, as YAML or Snakemake's config has them."""
    _check_keys(values, [*Head.model_fields, *PARTS], where)
    head = parse(Head, {k: v for k, v in values.items() if k not in PARTS}, where)
    for part in PARTS:
        if not isinstance(values.get(part), Mapping) or not values[part]:
            raise UserError(f"{where}.{part}: missing; expected a mapping of at least one name")
        for name in values[part]:
            if not isinstance(name, str) or not re.fullmatch(NAME, name):
                raise UserError(f"{where}.{part}: expected names like {NAME}; got {name!r}")
    study = Study.model_construct(
        **dict(head),
        data={k: _data(v, f"{where}.data.{k}") for k, v in values["data"].items()},
        teachers={k: _teacher(v, f"{where}.teachers.{k}") for k, v in values["teachers"].items()},
        distillers={
            k: _student(k, v, f"{where}.distillers.{k}") for k, v in values["distillers"].items()
        },
    )
    _check_references(study, where)
    return study


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: expected a mapping; got {values!r}")
    return dict(values)


def _data(values: Any, where: str) -> DataSet:
    values = _mapping(values, where)
    if "source" not in values:
        raise UserError(
            f"{where}.source: missing; known: {', '.join(registry.names('data source'))}"
        )
    name = values.pop("source")
    part = _part("data source", name, f"{where}.source")
    augment = parse(Augment, values.pop("augment", {}), f"{where}.augment")
    truth = values.pop("true_labels", None)
    _check_keys(values, [*part.model_fields, "source", "augment", "true_labels"], where)
    return DataSet.model_construct(
        source=parse(part, values, where),
        augment=augment,
        true_labels=None if truth is None else parse(TrueLabels, truth, f"{where}.true_labels"),
    )


def _teacher(values: Any, where: str) -> TeacherMethod:
    regularizers = {
        name: parse(_part("regularizer", name, where), settings, f"{where}.{name}")
        for name, settings in _mapping(values, where).items()
    }
    return TeacherMethod.model_construct(regularizers=regularizers)


def _student(name: str, values: Any, where: str) -> Student:
    values = _mapping(values, where)
    method = values.pop("method", name)
    part = _part("distiller", method, where)
    _check_keys(values, [*part.model_fields, "method"], where)
    return Student.model_construct(method=method, distiller=parse(part, values, where))


def _check_keys(values: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in values:
        if key not in known:
            raise UserError(f"{where}: {unknown('key', key, known)}")


def _part(kind: str, name: str, where: str) -> Any:
    try:
        return registry.get(kind, name)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _check_references(study: Study, where: str) -> None:
    """Every name that one part of the study gives to another must be known there."""

    def check(what: str, name: str, known: Any, at: str) -> None:
        if name not in known:
            raise UserError(f"{where}.{at}: {unknown(what, name, known)}")

    def check_network(network: str, at: str) -> None:
        try:
            catalogue.find(network)
        except UserError as error:
            raise UserError(f"{where}.{at}: {error}") from None

    for name, pair in study.pairs.items():
        check("data set", pair.data, study.data, f"pairs.{name}.data")
        for key in ("teacher_recipe", "student_recipe"):
            check("recipe", getattr(pair, key), study.recipes, f"pairs.{name}.{key}")
        if (pair.teacher is None or pair.student is None) and "/" not in name:
            raise UserError(
                f"{where}.pairs.{name}: expected a name of the form teacher/student, "
                "or the keys `teacher` and `student`"
            )
        for network in networks(name, pair):
            check_network(network, f"pairs.{name}")
    for name, method in study.teachers.items():
        for part, regularizer in method.regularizers.items():
            for data in regularizer.data_sets():
                check("data set", data, study.data, f"teachers.{name}.{part}.weight")
    for name, recipe in study.recipes.items():
        for network in recipe.lr if isinstance(recipe.lr, dict) else ():
            if network != "default":
                check_network(network, f"recipes.{name}.lr")
    results, store = (Path(p).resolve() for p in (f"results/{study.study}", study.store))
    if results.is_relative_to(store) or store.is_relative_to(results):
        raise UserError(
            f"{where}.store: expected a folder that is neither in nor around the study's results, "
            f"results/{study.study}; got {study.store}"
        )
    for name, table in study.tables.items():
        if name in RULES:
            raise UserError(f"{where}.tables: '{name}' is the name of a rule; take another")
        for pair_name in () if table.pairs == "all" else table.pairs:
            check("pair", pair_name, study.pairs, f"tables.{name}.pairs")
        for method in table.teachers:
            check("teacher method", method, study.teachers, f"tables.{name}.teachers")
        for distiller in table.distillers:
            check("distiller", distiller, study.distillers, f"tables.{name}.distillers")
