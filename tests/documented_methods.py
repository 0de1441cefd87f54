"""docs/add-a-method.md, followed step by step in a copy of the project; then the tests there.

`make test-documented` runs this file. A contributor who adds a method as the document says must
find the suite green: so the files of tests/unit and tests/oracle that a method can reach are run
with these methods. A file is left out if its text names no distiller, regularizer, registry or
study, and walks through no folder of sources: its tests see the same package as in `make test`.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = "docs/add-a-method.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANNOUNCED = re.compile(r"(This\s+is|Append\s+these\s+to)\s+`([\w./]+)`:\s*\Z")
"""What stands before the content of a file."""
ELSEWHERE = ("toml",)
"""Languages of blocks for a project of the reader's own."""
LEFT_OUT = ("source", "snakemake", "cat results", "make")
"""Commands that set up, train, or read what was trained; and the tests, which are run below."""
TESTS = ("tests/unit", "tests/oracle")
REACHES_METHODS = re.compile(
    r"distiller|regularizer|registry|soteacher\.study|\.rglob\(|import_module", re.IGNORECASE
)
"""What the text of a file of tests names if an added method can change what its tests see."""


@dataclass(frozen=True)
class Step:
    """A file to write or to append to, or commands to run (`path` is empty)."""

    path: str
    text: str
    append: bool = False


def steps(document: str) -> list[Step]:
    """What the document says to do, in its order."""
    found = []
    for block in BLOCK.finditer(document):
        language, text = block.groups()
        announced = ANNOUNCED.search(document[: block.start()])
        if announced:
            found.append(Step(announced[2], text, announced[1].startswith("Append")))
        elif language == "sh":
            found.append(Step("", text))
        elif language not in ELSEWHERE:
            raise ValueError(f"{DOCUMENT}: a block of {language} does not say which file it is")
    return found


class Copy:
    """The project as a newcomer has it, in a folder in which the document is followed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": binaries, "PYTHONPATH": str(path)}

    def follow(self, step: Step) -> None:
        """Write the file, or run the commands but for those that are left out."""
        if not step.path:
            for line in step.text.splitlines():
                if not line.startswith(LEFT_OUT):
                    words = shlex.split(line)
                    # the installed command may be that of another clone
                    named = [sys.executable, "-m", "soteacher"] if words[0] == "soteacher" else []
                    self.run(*named or words[:1], *words[1:])
            return
        path = self.path / step.path
        path.parent.mkdir(parents=True, exist_ok=True)
        before = f"{path.read_text().rstrip()}\n\n\n" if step.append else ""
        path.write_text(before + step.text)

    def run(self, *command: str) -> None:
        """Run a command; `CalledProcessError` if it fails."""
        print("+", shlex.join(command), flush=True)
        subprocess.run(command, cwd=self.path, env=self.environment, check=True)


def copy_tracked(path: Path) -> None:
    """Copy the files that git tracks, as they are in the working tree."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path / name)


def reached_tests(project: Path) -> list[str]:
    """Paths of the files of tests that an added method can reach, relative to the project."""
    files = [path for folder in TESTS for path in sorted((project / folder).glob("test_*.py"))]
    return [
        str(path.relative_to(project))
        for path in files
        if REACHES_METHODS.search(path.read_text(encoding="utf-8"))
    ]


def main() -> None:
    """Follow the document in a temporary folder, then run the tests there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", default="2", help="processes that run tests")
    workers = parser.parse_args().workers
    with tempfile.TemporaryDirectory(prefix="documented-") as folder:
        copy_tracked(Path(folder))
        copy = Copy(Path(folder))
        for step in steps((ROOT / DOCUMENT).read_text()):
            copy.follow(step)
        added = sorted(p for p in copy.path.rglob("soteacher/distillers/*.py") if is_new(p, copy))
        names = [path.stem for path in added]
        if not names:
            sys.exit(f"{DOCUMENT} adds no method to soteacher/distillers")
        copy.run("ruff", "check", *map(str, added))
        copy.run("ruff", "format", "--check", *map(str, added))
        options = ("-q", "-p", "no:cacheprovider", "-n", workers, "--dist", "worksteal")
        copy.run(sys.executable, "-m", "pytest", *options, *reached_tests(copy.path))
        print(f"the tests pass with the methods of {DOCUMENT}: {', '.join(names)}")


def is_new(path: Path, copy: Copy) -> bool:
    """Whether a file of the copy is not in the project."""
    return not (ROOT / path.relative_to(copy.path)).exists()


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{DOCUMENT}, followed step by step: failed: {shlex.join(map(str, error.cmd))}")
