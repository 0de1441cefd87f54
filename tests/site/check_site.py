"""Checks the built documentation site: `make docs` runs it.

Every link inside the site must lead to a file, and to an element if it names one; and a page must
load nothing from another host, so that the site works without a network.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Elements that a browser loads by itself, to the attribute with the address."""


class Page(HTMLParser):
    """The addresses and names of elements of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.names |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        address = values.get(LOADED.get(tag, ""))
        if address and values.get("rel") != "canonical":
            self.loaded.append(address)


def faults(site: Path) -> list[str]:
    """Return one line for each fault of a site."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        where = path.relative_to(site)
        for address in page.loaded:
            if urlsplit(address).netloc:
                found.append(f"{where} loads {address} from another host")
        for address in (*page.links, *page.loaded):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or where.name == "404.html":  # its links begin with /
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{where} links to {address}, which does not exist")
            elif target in pages and unquote(parts.fragment) not in {"", *pages[target].names}:
                found.append(f"{where} links to {address}, which has no such heading")
    return found if pages else [f"{site} has no page"]


if __name__ == "__main__":
    lines = faults(Path(sys.argv[1]).resolve())
    print("\n".join(lines) or "Every link of the site leads to a page or heading of it.")
    sys.exit(bool(lines))
