"use strict";

// A page that was sent alone has no records and files beside it. Its place is compared, because a
// page that was opened as a file cannot look for other files.
const place = document.body.dataset.place;
const address = decodeURIComponent(location.pathname);
if (place && !address.endsWith("/" + place)) {
  document.body.classList.add("is-alone");
  for (const link of document.querySelectorAll("a[href]")) {
    if (!/^(#|https?:)/.test(link.getAttribute("href"))) link.removeAttribute("href");
  }
}

// A click on the head of a column sorts by it: upwards, downwards, and back to the study's order.
const ORDERS = { none: "ascending", ascending: "descending", descending: "none" };
function valuesOf(rows, column) {
  const texts = rows.map((row) => {
    const cell = row.cells[column];
    return (cell.querySelector("summary") || cell).textContent.trim().replace(/−/g, "-");
  });
  // cells begin with their number; a column without numbers, such as names, is sorted as text
  const numbers = texts.map((text) => parseFloat(text));
  const values = column === 0 || numbers.every(isNaN) ? texts : numbers;
  return new Map(rows.map((row, index) => [row, values[index]]));
}
function compare(a, b) {
  return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
}
for (const heads of document.querySelectorAll("tr.sortable")) {
  const body = heads.closest("table").tBodies[0];
  const study = [...body.rows];
  [...heads.cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const order = ORDERS[head.getAttribute("aria-sort")];
      for (const other of heads.cells) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      const values = valuesOf(study, column);
      const [known, missing] = [false, true].map((lacks) =>
        study.filter((row) => Number.isNaN(values.get(row)) === lacks));
      known.sort((a, b) => sign * compare(values.get(a), values.get(b)));
      body.append(...(order === "none" ? study : [...known, ...missing]));
    });
  });
}

// A figure is moved to a window that fills the screen, and back: a copy would repeat its ids.
const dialog = document.createElement("dialog");
const closing = document.createElement("button");
const room = document.createElement("div");
closing.type = "button";
closing.textContent = "Close";
room.tabIndex = 0;
dialog.append(closing, room);
document.body.append(dialog);
let home = null;
closing.addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => home.append(room.firstChild));
for (const figure of document.querySelectorAll("figure")) {
  const drawing = figure.querySelector(".drawing");
  const enlarge = () => {
    home = drawing;
    dialog.setAttribute("aria-label", drawing.dataset.name);
    room.append(drawing.querySelector("svg"));
    dialog.showModal();
  };
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Enlarge";
  button.setAttribute("aria-label", "Enlarge " + drawing.dataset.name);
  button.addEventListener("click", enlarge);
  drawing.addEventListener("click", (event) => event.target.closest("svg") && enlarge());
  figure.classList.add("enlarges");
  figure.append(button);
}
