"""Make the README's picture from the page of the demo: `make readme-picture`.

Two views of the page side by side, as Chromium draws them: its beginning with the claims of the
paper, and its figures.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
VIEWS = ("", "#figure1")
"""Places of the page, left and right."""
WIDTH, HEIGHT = 900, 1280
"""Of one view, in the page's pixels."""
SCALE = 0.8
"""Pixels of the picture for one of the page."""


def main() -> None:
    """Write the picture of a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="results/<study>/report.html")
    parser.add_argument("picture", type=Path, help="PNG file to make")
    options = parser.parse_args()
    if not options.page.is_file():
        sys.exit(f"there is no page at {options.page}: run `make demo` first")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"no browser found, expected one of {', '.join(BROWSERS)}: install chromium")
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames.html"
        frames.write_text(both_views(options.page.resolve().as_uri()), encoding="utf-8")
        subprocess.run(
            [
                browser,
                *("--headless", "--disable-gpu", "--hide-scrollbars", "--no-sandbox"),
                *("--allow-file-access-from-files", "--virtual-time-budget=5000"),
                f"--window-size={round(len(VIEWS) * WIDTH * SCALE)},{round(HEIGHT * SCALE)}",
                f"--screenshot={options.picture.resolve()}",
                frames.as_uri(),
            ],
            check=True,
            capture_output=True,
        )


def both_views(page: str) -> str:
    """HTML that shows the views of a page beside each other."""
    frames = "".join(
        f'<iframe src="{page}{view}" style="position:absolute;border:0;left:{index * WIDTH}px;'
        f'width:{WIDTH}px;height:{HEIGHT}px"></iframe>'
        for index, view in enumerate(VIEWS)
    )
    style = f"margin:0;transform:scale({SCALE});transform-origin:0 0"
    return f'<!doctype html><body style="{style}">{frames}</body>'


if __name__ == "__main__":
    main()
