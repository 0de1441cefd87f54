"""Blocks of commands and code in the documents: run by a test, or marked, and all of them possible.

A comment above a block (or one for all blocks, at the beginning of a page) names the tests that run
it or commands like it, or says why none does.
"""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import yaml
from snakemake.cli import get_argument_parser

from soteacher.cli.entry_point import COMMANDS, _parser
from soteacher.results.runs_table import RUN_COLUMNS
from soteacher.study.load import load
from soteacher.study.run_table import IDENTITY

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "config/README.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs/evidence").glob("*.md"))
BLOCK = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OF_ALL = re.compile(r"^<!-- all blocks (run by .*) -->$", re.MULTILINE)
OTHERS = {
    "cat",
    "cd",
    "conda",
    "git",
    "mv",
    "pip",
    "python",
    "python3",
    "rsync",
    "source",
    "tail",
    "tmux",
}
"""Programs that are not of this project."""
ENGINES = ("--aws-basic-batch-", "--cluster-generic-", "--kubernetes-")
"""Beginnings of options that a plugin of Snakemake adds."""


def blocks(page):
    """The mark, language and text of each block of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    of_all = OF_ALL.search(text)
    return [(mark or (of_all and of_all[1]) or "", *rest) for mark, *rest in BLOCK.findall(text)]


def commands(text):
    """The words of each command of a block."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            yield words[:end]
            words = words[end + 1 :]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_names_the_test_that_runs_it_or_says_why_none_does(page):
    for mark, language, text in blocks(page):
        way, _, what = mark.partition(": ")
        if way == "not run":
            assert len(what) > 10, text
            continue
        assert mark.startswith("run by "), f"{page}: a block of {language or 'commands'}: {text}"
        for named in mark.removeprefix("run by ").split(", "):
            file, _, name = named.partition("::")
            assert (ROOT / file).is_file(), named
            assert not name or f"def {name}(" in (ROOT / file).read_text("utf-8"), named


@pytest.mark.parametrize("page", PAGES)
def test_every_command_has_options_and_targets_that_exist(page):
    known = {
        option for action in get_argument_parser()._actions for option in action.option_strings
    }
    [targets] = re.findall(
        r"^\.PHONY: ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    for _, language, text in blocks(page):
        for program, *words in commands(text) if language in ("", "sh") else ():
            if program == "make":
                asked = {word for word in words if "=" not in word}
                assert asked and asked <= {*targets.replace("\\", " ").split()}, words
            elif program == "soteacher":
                assert words[0] in COMMANDS
                _parser(words).parse_args(words)  # ends the test if it is impossible
            elif program == "snakemake":
                asked = {word for word in words if word.startswith("-")}
                assert {word for word in asked if not word.startswith(ENGINES)} <= known, words
            else:
                assert program in OTHERS, program


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_code_is_code(page):
    for _, language, text in blocks(page):
        assert language in ("", "sh", "text", "python", "snakemake", "yaml", "toml"), language
        if language == "python":
            ast.parse(text)
        if language == "yaml":
            assert isinstance(yaml.safe_load(text), dict)


PIECES = {
    "config/README.md": "config/demo.yaml",
    "docs/reproduce.md": "config/paper.yaml",
    "docs/results.md": "config/demo.yaml",
}
"""Pages with pieces of study files, to the study whose keys they replace."""


@pytest.mark.parametrize("page", PIECES)
def test_every_piece_of_a_study_file_is_read(page, tmp_path):
    pieces = [text for _, language, text in blocks(page) if language == "yaml"]
    assert pieces
    for text in pieces:
        (tmp_path / "piece.yaml").write_text(text, encoding="utf-8")
        study = load(ROOT / PIECES[page], tmp_path / "piece.yaml")
        for key, entries in yaml.safe_load(text).items():
            assert set(entries) <= set(getattr(study, key))


def code(page, *, having):
    [text] = [text for _, language, text in blocks(page) if language == "python" and having in text]
    return text


def test_the_readme_s_loop_runs():
    import torch
    from torch.nn import functional

    teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    images, labels = torch.ones(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
    loader = [(images, labels, torch.tensor([0, 1, 2, 3]))]
    names = {"F": functional, "teacher": teacher, "loader": loader, "train_set": range(4)}
    names |= {"n_classes": 3, "epochs": 2, "device": "cpu"}
    exec(code("README.md", having="lipschitz(teacher)"), names)
    plain = functional.cross_entropy(teacher(images), labels)
    assert names["loss"].isfinite() and names["loss"] > plain


def test_the_example_of_results_runs(tmp_path, monkeypatch, capsys):
    text = code("docs/results.md", having="read_csv")
    used = {"pair", "distiller", "method", "role", "status", "top1"}
    assert used <= {*IDENTITY, *RUN_COLUMNS} and all(name in text for name in used)
    row = {"pair": "a/b", "distiller": "kd", "method": "ours", "role": "student", "status": "done"}
    rows = [row | {"top1": 0.5}, row | {"top1": 0.75}, row | {"role": "teacher", "top1": 0.1}]
    (tmp_path / "results/demo").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(tmp_path / "results/demo/runs.csv", index=False)
    monkeypatch.chdir(tmp_path)
    exec(text, {})
    assert capsys.readouterr().out.split()[-3:] == ["0.625", "0.176777", "2"]
