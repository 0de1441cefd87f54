"""Study files as texts: YAML 1.2's core schema, JSON, and everything that is no study file."""

from __future__ import annotations

import json
import math
import os
import time
from decimal import Decimal
from typing import Literal

import pytest

from soteacher.core.errors import MOST_IN_MESSAGE, UserError
from soteacher.core.recipe import Recipe
from soteacher.core.scalars import scalar
from soteacher.core.settings import Settings, parse
from soteacher.data.spec import DataSpec
from soteacher.study import expansion
from soteacher.study.expand import expand
from soteacher.study.load import load, read
from soteacher.study.study_file import MOST_BYTES, values_of

RECIPE = {"epochs": 3, "batch": 2, "lr": 0.1, "decay_at": []}


def refusal(made, *arguments):
    """The one short line with which something is refused, within a second of this process."""
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        made(*arguments)
    assert time.process_time() - start < 1
    text = str(caught.value)
    assert text.isprintable() and len(text) <= MOST_IN_MESSAGE
    return text


@pytest.fixture
def file(tmp_path):
    """Write a study file with these bytes or this text."""

    def written(content):
        path = tmp_path / "study.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("true", True), ("True", True), ("TRUE", True), ("false", False), ("FALSE", False)),
        *(("null", None), ("Null", None), ("~", None), ("", None)),
        *(
            (text, text)
            for text in ("yes", "no", "on", "off", "y", "n", "Yes", "NO", "tRUE", "nULL")
        ),
        *(("0", 0), ("-3", -3), ("+3", 3), ("010", 10), ("0o10", 8), ("0x1F", 31), ("08", 8)),
        *(
            (text, text)
            for text in ("0b11", "1_000", "-0x1", "0x_", "0o8", "1:30", "1:30:00", "０")
        ),
        *(("1e-4", 1e-4), ("1.0e-4", 1e-4), (".5", 0.5), ("5.", 5.0), ("-1E+2", -100.0)),
        *((".inf", math.inf), ("-.INF", -math.inf)),
        *((text, text) for text in ("inf", "nan", "1e", "e1", ".", "+", "1.2.3", "2020-01-02")),
    ],
)
def test_words_are_those_of_yaml_1_2(file, text, value):
    read_back = values_of(file(f"a: {text}\nb: [x, {text}]\nc: '{text}'\n"))
    assert read_back["a"] == value and type(read_back["a"]) is type(value)
    assert scalar(text) == value and type(scalar(text)) is type(value)
    assert read_back["c"] == text
    if text:
        assert read_back["b"] == ["x", value]


def test_not_a_number_is_a_number_of_yaml(file):
    assert math.isnan(values_of(file("a: .nan"))["a"])


def test_tags_of_the_core_schema_are_known(file):
    text = "a: !!str 1\nb: !!int '2'\nc: !!float 3\nd: !!bool 'true'\ne: !!null ''\n"
    values = values_of(file(text + "g: !!map {h: !!seq [1]}\n"))
    assert values == {"a": "1", "b": 2, "c": 3.0, "d": True, "e": None, "g": {"h": [1]}}
    assert type(values["c"]) is float


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!int abc", "line 1: expected a whole number after !!int; got 'abc'"),
        ("\na: !!float x", "line 2: expected a number after !!float; got 'x'"),
        ("a: !!bool 1", "line 1: expected true or false after !!bool; got '1'"),
        ("a: !!null 1", "line 1: expected null after !!null; got '1'"),
        ("a: !!timestamp 2020-01-02", "line 1: the tag !!timestamp has no meaning"),
        ("a: !!binary aGk=", "line 1: the tag !!binary has no meaning"),
        ("a: !!set {b}", "line 1: the tag !!set has no meaning"),
        ("a: !!omap [b: 1]", "line 1: the tag !!omap has no meaning"),
        ("a: !!map [b]", "line 1: the tag !!map has no meaning"),
        ("a: !!python/object/apply:os.getcwd []", "line 1: the tag !!python/object/apply:os"),
        ("a: !mine 1", "line 1: the tag !mine has no meaning"),
        ("1: x", "line 1: expected a text as a key; got 1"),
        ("a: {null: x}", "line 1: expected a text as a key; got null"),
        ("?\n: x", "line 1: expected a text as a key; got nothing"),
        ("true: x", "line 1: expected a text as a key; got true"),
        ("[a]: x", "line 1: expected a text as a key; got a list"),
        ("{a: b}: x", "line 1: expected a text as a key; got a list or mapping"),
        ("a: " + "9" * 5000, "line 1: expected a number of at most 400 digits; got 5000"),
        ("a: 0x" + "f" * 5000, "line 1: expected a number of at most 400 digits; got 5002"),
        ("a: 0x" + "f" * 300, ".a: expected a number below 2**63; got one of about"),
        ("a: -9223372036854775808", ".a: expected a number below 2**63; got one of about"),
        ("a: " + "[" * 900 + "]" * 900, "line 1: expected at most 30 levels of values"),
        ("a: " + "{b: " * 900, "line 1: expected at most 30 levels of values"),
        ("a: &a [*a]", ".a: expected at most 30 levels of values, and no alias to the value"),
        ("a: &a {b: *a}", ".a: expected at most 30 levels of values, and no alias to the"),
        ("a: &a {<<: *a}", "line 1: expected `<<` to name another mapping"),
        ("a: {<<: 1}", "line 1: expected `<<` to name another mapping, or a list of some"),
        ("a: {<<: [{b: 1}, 2]}", "line 1: expected `<<` to name another mapping"),
        ("a: {<<: {b: 1}, <<: {c: 1}}", "line 1: the key '<<' appears twice"),
        ("a: *a", "is not valid YAML: line 1, column 4: found undefined alias 'a'"),
        ("a: 1\n---\na: 2", "is not valid YAML: line 2, column 1: expected a single document"),
        ("a:\n\t- b", "is not valid YAML: line 2, column 1: "),
        ("a: %x", "is not valid YAML: line 1, column 4: "),
        ("a: b: c", "is not valid YAML: line 1, column 5: mapping values are not allowed here"),
        ("a: [b", "is not valid YAML: line 1, column 6: "),
        ('a: "\\U99999999"', "is not valid YAML: "),
        ("a: \x07", "is not valid YAML: unacceptable character #x0007"),
        ('a: "b\\0c"', ".a: expected a text of one line without control characters; it has the "
         "character U+0000"),
        ('a: "\\ud800"', ".a: expected a text of one line without control characters; it has the "
         "character U+D800"),
        ('a: {"b\\nc": 1}', ".a: expected a text of one line"),
        ("a: |\n  b\n  c\n", ".a: expected a text of one line"),
        ('{"a": 1, "a": 2}', ": the key 'a' appears twice in one mapping"),
        ('{"a": "\\ud800"}', ".a: expected a text of one line"),
        ('{"a": ' + "[" * 3000, "line 1: expected at most 30 levels of values"),
        ('{"a": ' + "9" * 5000 + "}", "line 1: expected a number of at most 400 digits"),
        ("a: [" + "b, " * 20_000 + "]", "line 1: expected at most 5000 values in a file"),
        ("- a", ": expected a mapping of study keys, see config/README.md"),
        ("a", ": expected a mapping of study keys, see config/README.md"),
        ("", ": expected a mapping of study keys, see config/README.md"),
        ("# a: b", ": expected a mapping of study keys, see config/README.md"),
        (b"\x00\x01\x02", "is not valid YAML: unacceptable character #x0000"),
        (b"\x89PNG\r\n", "expected UTF-8 text"),
        ("a: b".encode("utf-16"), "expected UTF-8 text"),
        (b"a: b\n" * MOST_BYTES, "expected at most 200000 bytes of YAML; it has 1000000"),
    ],
    ids=lambda value: str(value)[:30].encode("unicode_escape").decode(),
)  # fmt: skip
def test_what_is_no_study_file_is_refused_in_one_short_line(file, text, said):
    path = file(text)
    line = refusal(values_of, path)
    assert str(path) in line and said in line


def laughs(n=9):
    """Aliases of aliases, for 9**9 values in a few lines."""
    lines = ["a: &a [" + ",".join("x" * n) + "]"]
    for one, other in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{other}: &{other} [" + ",".join([f"*{one}"] * n) + "]")
    return "\n".join(lines)


def merging(n=9):
    """Mappings that merge each other many times."""
    lines = ["a: &a {" + ",".join(f"k{i}: 1" for i in range(2000)) + "}"]
    for one, other in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{other}: &{other} {{<<: [" + ",".join([f"*{one}"] * n) + "]}")
    return "\n".join(lines)


@pytest.mark.parametrize("text", [laughs(), merging()], ids=["aliases", "merge keys"])
def test_a_short_file_of_many_values_is_refused(file, text):
    assert "expected at most 5000 values" in refusal(values_of, file(text))


def test_merge_keys_and_aliases_have_their_meaning(file):
    text = (
        "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {y: 4, <<: [*b, {x: 5, z: 6}]}\nd: ['<<']\n"
    )
    values = values_of(file(text))
    assert values["b"] == {"x": 3, "y": 2}
    assert values["c"] == {"x": 3, "y": 4, "z": 6}
    assert values["d"] == ["<<"]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_values(file):
    assert values_of(file(b"\xef\xbb\xbfa: b\r\nc: 1\r\n")) == {"a": "b", "c": 1}
    assert values_of(file(b'\xef\xbb\xbf{"a":\t"b"}')) == {"a": "b"}


def test_json_is_read_as_json(file):
    values = {"a": [1, 2.5, True, None, "x"], "b": {"c": "\U0001f600/"}, "d": 1e-4}
    text = json.dumps(values, indent="\t").replace("/", "\\/")
    assert values_of(file(text)) == values


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "loop", "missing", "NUL", "long"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, kind):
    path = tmp_path / "study.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "NUL":
        path = tmp_path / "a\0b"
    elif kind == "long":
        path = tmp_path / ("x" * 5000)
    assert refusal(load, path).startswith("cannot read the study file ")


# values, wherever they come from


class Outside(Settings):
    """Settings as a method file has them."""

    flag: bool = False
    whole: int = 1
    number: float = 1.0
    wholes: tuple[int, ...] = ()
    weights: float | dict[str, float] = 1.0
    either: int | None = None
    inner: Recipe | None = None
    level: Literal[1, 2] = 1
    exact: Decimal = Decimal(1)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("whole", True, "whole: expected a whole number; got true"),
        ("number", False, "number: expected a number; got false"),
        ("wholes", [1, True], "wholes.1: expected a whole number; got true"),
        ("weights", True, "weights: expected a number or a mapping; got true"),
        ("weights", {"a": True}, "weights.a: expected a number; got true"),
        ("either", True, "either: expected a whole number; got true"),
        ("inner", RECIPE | {"epochs": True}, "inner.epochs: expected a whole number; got true"),
        (
            "inner",
            RECIPE | {"lr": {"default": True}},
            "inner.lr.default: expected a number; got true",
        ),
        ("level", True, "level: expected a whole number; got true"),
        ("exact", True, "exact: expected a number; got true"),
        ("exact", "1_0", 'exact: expected a number; got "1_0"'),
        ("flag", 1, "flag: expected true or false; got 1"),
        ("flag", "yes", 'flag: expected true or false; got "yes"'),
        ("flag", 0.0, "flag: expected true or false; got 0.0"),
        ("whole", "1_0", 'whole: expected a whole number; got "1_0"'),
        ("whole", " 1", 'whole: expected a whole number; got " 1"'),
        ("whole", "٣", 'whole: expected a whole number; got "\\u0663"'),
        ("number", "infinity", 'number: expected a number; got "infinity"'),
        ("number", math.nan, "number: expected a finite number; got NaN"),
        ("number", ".inf", "number: expected a finite number; got Infinity"),
        (
            "whole",
            10**30,
            "whole: expected a number below 2**63; got 1000000000000000000000000000000",
        ),
        ("whole", "9" * 300, "whole: expected a number below 2**63"),
    ],
)
def test_a_boolean_is_no_number_and_a_number_no_boolean(key, value, said):
    assert refusal(parse, Outside, {key: value}, "here").startswith(f"here.{said}")


def test_texts_that_are_numbers_or_booleans_in_yaml_1_2_are_read_as_them():
    """Snakemake hands them over as texts: 1e-4 in files, everything inside of lists of --config."""
    values = {"flag": "true", "whole": "010", "number": "1e-4", "wholes": ["1", "0x10"]}
    read_back = parse(Outside, values | {"weights": {"a": "2"}}, "here")
    assert read_back == Outside(
        flag=True, whole=10, number=1e-4, wholes=(1, 16), weights={"a": 2.0}
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"a": {1: 2}}, "here.a: expected texts as keys; got 1"),
        ({"a": {None: 2}}, "here.a: expected texts as keys; got None"),
        (
            {"a": {(1, 2): 2}},
            "here.a: expected a text, number, boolean, list or mapping; got the tup",
        ),
        (
            {"a": b"x"},
            "here.a: expected a text, number, boolean, list or mapping; got the bytes b'x'",
        ),
        ({"a": 10**5000}, "here.a: expected a number below 2**63; got one of about 49"),
        ({10**5000: 1}, "here: expected a number below 2**63; got one of about 49"),
        ({"a": [0] * 20_000}, "here: expected at most 5000 values"),
        ({"a\n": 1}, "here: expected a text of one line"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_values_that_no_file_can_hold_are_refused(values, said):
    assert refusal(read, values, "here").startswith(said)


def test_values_that_contain_themselves_are_refused(demo):
    demo["recipes"]["self"] = demo["recipes"]
    assert "expected at most 30 levels of values" in refusal(read, demo)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            "recipes demo epochs",
            10**12,
            "recipes.demo.epochs: expected less than or equal to 100000",
        ),
        ("seeds", [*range(1001)], "seeds: expected at most 1000 entries"),
        (
            "tables table1 distillers",
            ["kd\nx"],
            "tables.table1.distillers.0: expected a text of one",
        ),
        (
            "tables table1 distillers",
            ["x" * 9999],
            "tables.table1.distillers: unknown distiller 'xxx",
        ),
        ("store", "s" * 99_999, "store: expected names of at most 255 bytes in the path"),
        ("store", ["s" * 99_999] * 3, "store: expected a text; got"),
        ("distillers kd", {"method": ["kd"]}, "distillers.kd: expected the name of a distiller"),
        (
            "data digits source",
            ["digits"],
            "data.digits.source: expected the name of a data source",
        ),
        ("tables table1 kind", {"a": 1}, "tables.table1.kind: unknown kind '{'a': 1}'"),
        ("study", True, "study: expected a text; got true"),
        ("allow_cpu", "yes", 'allow_cpu: expected true or false; got "yes"'),
        ("data digits augment flip", True, "data.digits.augment.flip: expected a number; got true"),
        (
            "distillers at weight",
            True,
            "distillers.at.weight: expected a number or a mapping; got t",
        ),
        (
            "figures figure2 vary",
            {"lipschitz.weight": [True]},
            "figures.figure2.vary.lipschitz.weig",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_values_of_any_size_are_refused_in_one_short_line(demo, path, value, said):
    *outer, key = path.split()
    inner = demo
    for name in outer:
        inner = inner[name]
    inner[key] = value
    assert refusal(lambda: expand(read(demo, "here"))).startswith(f"here.{said}")


@pytest.mark.parametrize(
    "network",
    ["wrn_600000000004_1", "wrn_10_100000", "resnet60000000002x1", "wrn_1０_1", "wrn_10_1\n"],
)
def test_a_network_of_too_many_layers_is_no_network(demo, network):
    pair = {"data": "digits", "teacher_recipe": "demo", "student_recipe": "demo"}
    demo["pairs"]["odd"] = pair | {"teacher": network, "student": "wrn_10_1"}
    said = refusal(read, demo)
    assert "pairs.odd" in said and ("unknown network" in said or "a text of one line" in said)


def test_more_runs_than_a_study_can_have_are_refused(demo, monkeypatch):
    demo["seeds"] = [*range(200)]
    monkeypatch.setattr(expansion, "MOST_RUNS", 1000)
    with pytest.raises(UserError, match="the study needs more than 1000 runs"):
        expand(read(demo))


@pytest.mark.parametrize("part", ["study", "data", "recipes", "teachers", "distillers", "tables"])
@pytest.mark.parametrize("n", [150, 151, 245, 5000])
def test_a_name_that_would_make_too_long_a_file_name_is_refused(demo, part, n):
    """The longest that is allowed fits, with all that we add to it, into 255 bytes."""
    name = "n" * n
    if part == "study":
        demo["study"] = name
    else:
        entries = demo[part]
        first = {"distillers": "at", "teachers": "l1"}.get(part, next(iter(entries)))
        entry = entries[first]
        entries[name] = {"method": "at"} | entry if part == "distillers" else entry
    if n > 150:
        said = refusal(lambda: expand(read(demo)))
        assert "150 characters" in said and f"study.{part}" in said
    else:
        assert expand(read(demo))


def test_a_value_of_a_sweep_becomes_the_name_of_a_folder(demo, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "from soteacher.methods import *\n@register\nclass Own(Regularizer):\n    word: str = 'a'\n"
    )
    demo["methods"] = [str(own)]
    demo["teachers"]["mine"] = {"own": {}}
    sweep = {"kind": "sweep", "base": "mine", "teachers": ["standard"], "distillers": ["kd"]}
    demo["figures"]["words"] = sweep | {"vary": {"own.word": ["b-1"]}}
    assert any("/mine.own.word=b-1/" in run_id for run_id in expand(read(demo)).runs)
    for bad in ("../x", "a/b", "", "x" * 51, "é"):
        demo["figures"]["words"] = sweep | {"vary": {"own.word": [bad]}}
        said = refusal(lambda: expand(read(demo)))
        assert said.startswith("study.figures.words.vary.own.word: expected values like")


@pytest.mark.parametrize(
    "key", ["revision", "true_labels revision", "size", "true_labels confusion"]
)
def test_a_boolean_is_no_number_of_a_spec_either(key):
    values = {"source": "generated", "revision": 1, "size": 8, "n_classes": 4}
    values |= {"n_train": 8, "n_test": 4}
    values["true_labels"] = {"revision": 1, "confusion": 0.3}
    spec = DataSpec.from_json(values)
    assert spec.to_json() == values and spec.open_source()
    *outer, last = key.split()
    (values["true_labels"] if outer else values)[last] = True
    assert "true" in refusal(lambda: DataSpec.from_json(values).open_source()).lower()


# places


def with_place(demo, key, place):
    if key == "store":
        demo["store"] = place
    elif key == "methods":
        demo["methods"] = [place]
    else:
        demo["data"]["mine"] = {"source": "cifar100", "path": place}
    return demo


@pytest.mark.parametrize("key", ["store", "path", "methods"])
@pytest.mark.parametrize(
    ("place", "said"),
    [
        (
            "$NO_SUCH_VARIABLE/x",
            "the environment variable NO_SUCH_VARIABLE of '$NO_SUCH_VARIABLE/x'",
        ),
        (
            "a/${NO_SUCH_VARIABLE}",
            "the environment variable NO_SUCH_VARIABLE of 'a/${NO_SUCH_VARIA",
        ),
        (
            "$EMPTY/x",
            "the environment variable EMPTY of '$EMPTY/x' is not set: set it, or write the",
        ),
        ("~nobody_at_all/x", "cannot find the home folder '~nobody_at_all' of '~nobody_at_all/x'"),
        ("x" * 256, "expected names of at most 255 bytes in the path"),
        ("é" * 128 + "/x", "expected names of at most 255 bytes in the path"),
    ],
    ids=["unset", "braces", "empty", "nobody", "256 bytes", "two bytes a letter"],
)
def test_a_place_that_cannot_be_found_out_is_refused(demo, monkeypatch, key, place, said):
    monkeypatch.setenv("EMPTY", "")
    line = refusal(read, with_place(demo, key, place))
    assert said in line and key in line.partition(": ")[0]


@pytest.mark.parametrize("place", ["~/in_home", "$PLACE/in_home", "${PLACE}/in_home"])
def test_home_and_variables_are_replaced_in_places_and_change_no_spec(
    demo, tmp_path, monkeypatch, place
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path))
    hashes = {run.id: run.spec.sha256 for run in expand(read(demo)).runs.values()}
    study = read(with_place(demo, "store", place))
    assert study.store == str(tmp_path / "in_home")
    assert {run.id: run.spec.sha256 for run in expand(study).runs.values()} == hashes
    images = read(with_place(demo, "path", place)).data["mine"]
    assert images.data_spec.to_json() == {"source": "cifar100", "revision": 1}
    assert str(tmp_path / "in_home") in refusal(images.source.read)  # it does not exist
    (tmp_path / "in_home").mkdir()
    own = "from soteacher.methods import *\n@register\nclass Own(Distiller):\n    pass\n"
    (tmp_path / "in_home/own.py").write_text(own)
    demo["distillers"]["own"] = {}
    assert read(with_place(demo, "methods", f"{place}/own.py")).distillers["own"].method == "own"


def test_a_dollar_that_names_no_variable_is_kept(demo):
    assert read(demo | {"store": "price$/a$1"}).store == "price$/a$1"
