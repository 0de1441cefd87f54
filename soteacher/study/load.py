"""Read a study file. The error message is one line: where, what, and what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from soteacher.core import registry
from soteacher.core.errors import UserError, short, unknown
from soteacher.core.places import expanded
from soteacher.core.settings import parse
from soteacher.data.settings import Augment, CountsFile, TrueLabels
from soteacher.models import catalogue
from soteacher.models.outside import OutsideNetwork
from soteacher.study.kinds.base import Block
from soteacher.study.method_checks import check_method
from soteacher.study.method_files import load_methods
from soteacher.study.network_files import load_networks
from soteacher.study.plain_values import check_plain
from soteacher.study.schema import (
    MOST_IN_NAME,
    NAME,
    OWN_KEYS,
    PARTS,
    DataSet,
    Head,
    Student,
    TeacherMethod,
    networks,
)
from soteacher.study.study import Study
from soteacher.study.study_file import values_of

Methods = Mapping[str, registry.Outside]
T = TypeVar("T")
RULES = (
    *("all", "prepare", "teach", "distill", "measure"),
    *("table", "figure", "runs", "claims", "page", "time_steps"),
)
"""Names that no table or figure may have, because the workflow has targets with these names."""


def load(path: Path, *over: Path) -> Study:
    """Read a study file and its override files.

    The override files, `over`, are applied one after the other. Each changes and adds keys at any
    depth, as Snakemake does with several files after `--configfile`. An invalid study raises a
    `UserError` of one line: the key, what was expected, and the nearest known name.
    """
    return read(merged(path, *over), " + ".join(map(str, (path, *over))))


def methods_of(path: Path, *over: Path) -> Methods:
    """Return name to loss term of all method files that a study lists, used or not."""
    return load_methods(_listed("methods", path, *over), f"{path}.methods")


def networks_of(path: Path, *over: Path) -> list[OutsideNetwork]:
    """Return the networks of all network files that a study lists, used or not."""
    return load_networks(_listed("networks", path, *over), f"{path}.networks")


def _listed(key: str, path: Path, *over: Path) -> list[str]:
    listed = merged(path, *over).get(key) or []
    if not isinstance(listed, list) or not all(isinstance(file, str) for file in listed):
        given = short(repr(listed))
        raise UserError(f"{path}.{key}: expected a list of Python files; got {given}")
    try:
        return [expanded(file) for file in listed]
    except ValueError as error:
        raise UserError(f"{path}.{key}: {error}") from None


def merged(path: Path, *over: Path) -> dict[str, Any]:
    """Return the plain values of a study file and its override files, unchecked."""
    values = values_of(path)
    for other in over:
        values = overridden(values, values_of(other))
    return values


def overridden(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with those of `others` in their place, at any depth."""
    result = dict(values)
    for key, value in others.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), dict)
        result[key] = overridden(result[key], value) if both else value
    return result


def read(values: Mapping[str, Any], where: str = "study") -> Study:
    """Return the study with these plain values, which come from YAML or Snakemake's config."""
    check_plain(values, where)
    _check_keys(values, [*Head.model_fields, *PARTS], where)
    head = parse(Head, {k: v for k, v in values.items() if k not in PARTS}, where)
    values = {**values, "figures": _mapping(values.get("figures"), f"{where}.figures")}
    for part in PARTS:
        needed = part != "figures"
        if needed and (not isinstance(values.get(part), Mapping) or not values[part]):
            raise UserError(f"{where}.{part}: missing; expected a mapping of at least one name")
        for name in values[part]:
            if not re.fullmatch(NAME, name):
                given = short(repr(name))
                raise UserError(f"{where}.{part}: expected names like {NAME}; got {given}")
            if len(name) > MOST_IN_NAME:
                raise UserError(
                    f"{where}.{part}: expected names of at most {MOST_IN_NAME} characters, because "
                    f"files have these names; '{short(name)}' has {len(name)}"
                )
    methods = load_methods(head.methods, f"{where}.methods")
    load_networks(head.networks, f"{where}.networks")

    def entries(part: str, read_entry: Callable[[str, str, Any], T]) -> Mapping[str, T]:
        """Name to checked entry of a part; `read_entry` gets its place, its name and its values."""
        return MappingProxyType(
            {k: read_entry(f"{where}.{part}.{k}", k, v) for k, v in values[part].items()}
        )

    study = Study.model_construct(
        **{k: _frozen(v) for k, v in head},
        data=entries("data", lambda at, _, value: _data(value, at)),
        teachers=entries("teachers", lambda at, _, value: _teacher(value, at, methods)),
        distillers=entries(
            "distillers", lambda at, name, value: _student(name, value, at, methods)
        ),
        tables=entries("tables", lambda at, _, value: _block("table", value, at)),
        figures=entries("figures", lambda at, _, value: _block("figure", value, at)),
        impossible={},
    )
    _check_references(study, where)
    return study.model_copy(update={"impossible": MappingProxyType(_impossible(study, where))})


def _frozen(value: Any) -> Any:
    """Return a mapping read-only, and any other value as it is."""
    return MappingProxyType(value) if isinstance(value, dict) else value


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: expected a mapping; got {short(repr(values))}")
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
    source = parse(part, values, where)
    if source.input_size is not None and augment.resized_crop is None:
        raise UserError(
            f"{where}: `input_size` needs `augment: {{resized_crop: {{}}}}`, which makes training "
            "images of this size out of larger ones: add it, or remove `input_size`"
        )
    true_labels: TrueLabels | CountsFile | None = None
    if truth is not None:
        if isinstance(truth, Mapping) and "counts" in truth:
            true_labels = parse(CountsFile, truth, f"{where}.true_labels")
        else:
            true_labels = parse(TrueLabels, truth, f"{where}.true_labels")
    data_set = DataSet.model_construct(source=source, augment=augment, true_labels=true_labels)
    places = {"path": "path", "counts": "true_labels.counts"}
    for name, key in places.items():
        try:
            expanded(data_set.location.get(name, ""))
        except ValueError as error:
            raise UserError(f"{where}.{key}: {error}") from None
    return data_set


def _teacher(values: Any, where: str, methods: Methods) -> TeacherMethod:
    values = _mapping(values, where)
    stated = {key: values.pop(key) for key in OWN_KEYS if key in values}
    regularizers = {
        name: parse(_part("regularizer", name, where, methods), settings, f"{where}.{name}")
        for name, settings in values.items()
    }
    method = parse(TeacherMethod, {"regularizers": {}} | stated, where)
    check_method(method, regularizers, where)
    return method.model_copy(update={"regularizers": MappingProxyType(regularizers)})


def _student(name: str, values: Any, where: str, methods: Methods) -> Student:
    values = _mapping(values, where)
    method = values.pop("method", name)
    part = _part("distiller", method, where, methods)
    _check_keys(values, [*part.model_fields, "method"], where)
    return Student.model_construct(method=method, distiller=parse(part, values, where))


def _block(what: str, values: Any, where: str) -> Block:
    values = _mapping(values, where)
    known = registry.names(f"kind of {what}")
    if "kind" not in values:
        raise UserError(f"{where}.kind: missing; known: {', '.join(known)}")
    kind = values.pop("kind")
    if kind not in known:
        raise UserError(f"{where}.kind: {unknown('kind', kind, known)}")
    part = registry.get(f"kind of {what}", kind)
    _check_keys(values, ["kind", *part.model_fields], where)
    block: Block = parse(part, values, where)
    return block


def _check_keys(values: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in values:
        if key not in known:
            raise UserError(f"{where}: {unknown('key', key, known)}")


def _part(kind: str, name: str, where: str, methods: Methods | None = None) -> Any:
    """Return the class of a registered part, or of one of the study's method files."""
    if not isinstance(name, str):
        raise UserError(f"{where}: expected the name of a {kind}; got {short(repr(name))}")
    files = {n: method.part for n, method in (methods or {}).items() if method.kind == kind}
    try:
        if name not in files and name not in registry.names(kind) and files:
            raise UserError(unknown(kind, name, [*registry.names(kind), *files]))
        return files.get(name) or registry.get(kind, name)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _check_references(study: Study, where: str) -> None:
    """Check that every name in one part of the study is defined in the part that it refers to."""

    def check(what: str, name: str, known: Any, at: str) -> None:
        if name not in known:
            raise UserError(f"{where}.{at}: {unknown(what, name, known)}")

    def check_network(network: str, at: str) -> None:
        try:
            catalogue.check_known(network)
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
        for network in method.weights if isinstance(method.weights, dict) else ():
            check_network(network, f"teachers.{name}.weights")
    for name, recipe in study.recipes.items():
        for network in recipe.lr if isinstance(recipe.lr, dict) else ():
            if network != "default":
                check_network(network, f"recipes.{name}.lr")
    try:
        results, store = (Path(p).resolve() for p in (f"results/{study.study}", study.store))
    except (OSError, RuntimeError):
        raise UserError(
            f"{where}.store: {study.store} is a symbolic link that leads to itself; remove it"
        ) from None
    if results.is_relative_to(store) or store.is_relative_to(results):
        raise UserError(
            f"{where}.store: expected a folder outside results/{study.study} that does not "
            f"contain it; got {study.store}"
        )
    for part in ("tables", "figures"):
        for name in getattr(study, part):
            if name in RULES:
                raise UserError(
                    f"{where}.{part}: '{name}' is the name of a rule; choose another name"
                )
    for name in study.figures:
        if name in study.tables:
            raise UserError(f"{where}.figures: a table is also named '{name}'; choose another name")


def _impossible(study: Study, where: str) -> dict[str, str]:
    """Return name to error of each table or figure that the rest of the study makes impossible."""
    errors = {}
    for part in ("tables", "figures"):
        for name, block in getattr(study, part).items():
            try:
                block.check(study, f"{where}.{part}.{name}")
            except UserError as error:
                errors[name] = str(error)
    return errors
