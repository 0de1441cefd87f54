"""The pages of the documentation site that are also read without it, at their paths in the project.

So a link of one page to another, or to a file of the project, is the same in both.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = (
    *ROOT.glob("*.md"),
    ROOT / "config/README.md",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "docs/evidence").glob("*.md"),
)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def linked(page: Path) -> set[Path]:
    """Return the files to which a page has relative links."""
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    return {(page.parent / unquote(target)).resolve() for target in targets}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the files of the project that they link to."""
    for path in sorted({*PAGES, *(file for page in PAGES for file in linked(page))}):
        if path.is_file():  # for others, mkdocs warns about the link
            uri = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files
