"""The page in Chromium: no error, nothing wider than a phone, sorting, links, enlarged figures."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest
from made_figures import history, make, measured, record_of
from made_tables import STUDENT, TEACHER, block_of, cell, lost, row, tabulate
from test_page import summary_of
from test_page_answer import CLAIMS

from soteacher.report.figures import make_svg
from soteacher.report.page import make_page
from soteacher.report.page.verdicts import Verdicts

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(
    not BROWSER, reason="needs Chromium: install the package chromium to run it"
)
PHONE, DESK = 390, 1280
MEASURING = """
<script>
const problems = [];
addEventListener("error", (event) => problems.push(String(event.message)));
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
addEventListener("load", () => {
  const found = { problems };
  const all = (selector) => [...document.querySelectorAll(selector)];
  const wide = (part) => part.getBoundingClientRect().right > innerWidth + 0.5;
  found.page = document.documentElement.scrollWidth - innerWidth;
  found.wide = all("body *").filter(wide).filter((part) => !part.closest(".scroll, .hidden"))
    .map((part) => part.outerHTML.slice(0, 80));
  found.scrolling = all(".scroll").filter((box) => box.scrollWidth > box.clientWidth + 1)
    .map((box) => box.getAttribute("aria-label"));
  const ids = all("[id]").map((part) => part.id);
  found.repeated = ids.filter((id, index) => ids.indexOf(id) < index);
  found.shown = all("figure > div > svg > svg").filter((part) => part.checkVisibility())
    .map((part) => part.classList.value);
  found.ink = getComputedStyle(document.querySelector("figure text")).fill;
  found.links = all("a[href]").map((link) => link.getAttribute("href"));
  found.dead = all("a[href^='#']").filter((link) => !document.querySelector(link.hash)).length;
  found.alone = getComputedStyle(document.querySelector(".note.alone")).display !== "none";
  found.files = all("p.files").filter((part) => part.offsetParent).length;
  found.paper = getComputedStyle(document.body).backgroundColor;
  const texts = all("figure text").filter((text) => text.checkVisibility()).map((text) => {
    const drawn = text.getScreenCTM();
    return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(drawn.a, drawn.b);
  });
  found.least_text = Math.min(...texts);
  const table = document.querySelector("#table1 table");
  const rows = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const heads = [...table.querySelectorAll(".sortable th")];
  found.buttons = heads.map((head) => head.querySelector("button").textContent);
  found.orders = [0, 1, 2, 3].map(() => {
    const order = [heads[1].getAttribute("aria-sort"), rows()];
    heads[1].querySelector("button").click();
    return order;
  });
  heads[0].querySelector("button").click();
  found.by_name = rows();
  heads[2].querySelector("button").click();
  found.with_missing = rows();
  const verdict = document.querySelector("#claim-students_better .sortable th:nth-child(4)");
  verdict.querySelector("button").click();
  found.verdicts = [...verdict.closest("table").tBodies[0].rows]
    .map((row) => row.querySelector(".verdict").textContent.trim());
  const svg = document.querySelector("figure svg");
  document.querySelector("figure button").click();
  found.enlarged = [!!svg.closest("dialog[open]"), svg.getBoundingClientRect().width];
  document.querySelector("dialog button").click();
  setTimeout(() => {
    found.back = !!svg.closest("figure");
    parent.postMessage(JSON.stringify(found), "*");
  }, 50);
});
</script>
"""
FRAME = """<!doctype html><body style="margin:0"><iframe src="{page}" width="{width}" height="900"
style="border:0"></iframe><pre></pre><script>
addEventListener("message", (event) => {{
  document.querySelector("pre").textContent = event.data;
}});
</script></body>"""


@pytest.fixture(scope="module")
def html():
    """A page with a wide table, a narrow one, verdicts and a figure, in `demo/report.html`."""
    methods = ("standard", "soteacher", "no_cr", "label_smoothing")
    rows = [row(f"s{i}", 0.7 - 0.1 * i, ece=0.1) for i in (0, 1, 2)] + [row("s3", 0.655)]
    rows = [rows[0], rows[2], rows[1], rows[3]]
    ids = [one["run"] for one in rows]
    wide = block_of(
        *(
            cell(method, ["lost" if (method, column) == ("soteacher", TEACHER) else run], column)
            for method, run in zip(methods, ids, strict=True)
            for column in (STUDENT, TEACHER, "wrn_40_2/wrn_16_2 student.top1", "x/y student.top1")
        )
    )
    narrow = block_of(
        *(cell(f"wrn_40_2 {m}", [r], "ece", "ece") for m, r in zip(methods[:2], ids, strict=False)),
        name="table3",
        kind="calibration",
    )
    tables = {
        one["name"]: tabulate(one, *rows, lost("lost", "diverged", "bad")) for one in (wide, narrow)
    }
    points = [
        {"panel": "wrn_40_2", "series": series, "runs": [f"wrn_{series}"]}
        for series in ("standard", "soteacher")
    ]
    runs = [run for point in points for run in point["runs"]]
    epochs = history(**{run: [0.5, 0.6, 0.7] for run in runs})
    _, drawn = make("curves", points, measured(**dict.fromkeys(runs, 0.7)), epochs)
    figures = {}
    for name in ("figure1", "curves"):
        drawing = make_svg(record_of("curves", points) | {"name": name}, drawn)
        figures[name] = (drawing.encode(), drawn)
    verdicts = Verdicts(CLAIMS, CLAIMS)
    return make_page(
        summary_of([wide, narrow]), tables, figures, verdicts, place="demo/report.html"
    )


def seen(html, folder, width, *options):
    """What the script finds in the page at a width, and what the browser says of errors."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(html.replace("<head>", f"<head>{MEASURING}"), encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(page=page.as_uri(), width=width), encoding="utf-8")
    command = [
        BROWSER,
        *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *("--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom"),
        *(f"--user-data-dir={folder}/profile", "--window-size=1400,1000"),
        *options,
        frame.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    [said] = re.findall("<pre>(.*?)</pre>", done.stdout, re.S)
    found = json.loads(unescape(said))
    found["console"] = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return found


@pytest.fixture(scope="module")
def phone(html, tmp_path_factory):
    """The page in its results folder, on a phone."""
    return seen(html, tmp_path_factory.mktemp("phone") / "demo", PHONE)


@pytest.fixture(scope="module")
def desk(html, tmp_path_factory):
    """The page alone, on a wide screen, in the dark."""
    folder = tmp_path_factory.mktemp("desk") / "downloads"
    return seen(html, folder, DESK, "--blink-settings=preferredColorScheme=0")


def test_the_browser_reports_no_error(phone, desk):
    for found in (phone, desk):
        assert found["problems"] == [] and found["console"] == []


def test_nothing_is_wider_than_a_phone_and_no_table_scrolls_there(phone):
    assert phone["page"] <= 0
    assert phone["wide"] == [] and phone["scrolling"] == []


def test_ids_differ_on_the_whole_page(phone, desk):
    assert phone["repeated"] == [] and desk["repeated"] == []


def test_each_figure_shows_the_drawing_for_the_screen(phone, desk):
    assert phone["shown"] == ["narrow"] * 2 and desk["shown"] == ["wide"] * 2


def test_texts_in_figures_stay_legible_on_a_phone(phone):
    assert phone["least_text"] >= 9  # CSS pixels


def test_a_column_sorts_up_down_and_back_to_the_order_of_the_study(phone):
    order = [
        "Standard",
        "SoTeacher",
        "no-CR",
        "Label smoothing (added)",
    ]  # 70.00, 50.00, 60.00, 65.50
    upwards = ["SoTeacher", "no-CR", "Label smoothing (added)", "Standard"]
    assert phone["orders"] == [
        ["none", order],
        ["ascending", upwards],
        ["descending", upwards[::-1]],
        ["none", order],
    ]
    assert phone["by_name"] == ["Label smoothing (added)", "no-CR", "SoTeacher", "Standard"]
    assert phone["buttons"][1] == "Student accuracy (%)"


def test_cells_without_a_number_come_last_and_verdicts_sort_as_texts(phone):
    assert phone["with_missing"] == ["no-CR", "Label smoothing (added)", "Standard", "SoTeacher"]
    assert phone["verdicts"] == ["? cannot tell", "? cannot tell", "✓ holds", "✓ holds"]


def test_links_work_in_the_results_folder_and_are_left_out_elsewhere(phone, desk):
    assert phone["dead"] == 0 and desk["dead"] == 0
    files = {"tables/table1.csv", "figures/figure1.svg", "students/s0/run.json"}
    assert files <= set(phone["links"]) and not phone["alone"] and phone["files"] > 0
    assert all(link.startswith(("#", "https:")) for link in desk["links"])
    assert desk["alone"] and desk["files"] == 0


def test_a_figure_fills_the_screen_and_comes_back(phone, desk):
    for found in (phone, desk):
        assert found["enlarged"][0] and found["back"]
    assert desk["enlarged"][1] > 1000


def test_the_page_is_dark_where_the_reader_wants_it(phone, desk):
    assert phone["paper"] == "rgb(255, 255, 255)"
    assert desk["paper"] == "rgb(22, 23, 27)"
    assert (phone["ink"], desk["ink"]) == ("rgb(27, 27, 31)", "rgb(232, 232, 236)")
