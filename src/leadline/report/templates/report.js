// A click on a heading sorts by its column: what is better first, then the other way round, then as it was.
function value(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.innerText.trim();
  return text === "" ? null : isNaN(text) ? text.toLowerCase() : Number(text);
}

function sort(heading) {
  const body = heading.closest("table").tBodies[0];
  body.original ??= [...body.rows];
  const start = heading.dataset.better === "high" ? "descending" : "ascending";
  const turned = start === "ascending" ? "descending" : "ascending";
  const next = { [start]: turned, [turned]: "" }[heading.getAttribute("aria-sort")] ?? start;
  heading.closest("thead").querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
  if (next) heading.setAttribute("aria-sort", next);
  const column = Number(heading.dataset.column), sign = next === "descending" ? -1 : 1;
  const compare = (a, b) => {
    const [x, y] = [value(a, column), value(b, column)];
    if (x === null || y === null) return (x === null) - (y === null); // what has no figure comes last
    return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
  };
  body.append(...(next ? [...body.original].sort(compare) : body.original));
  body.classList.toggle("unsorted", !next);
}

document.querySelectorAll("tbody").forEach((body) => body.classList.add("unsorted"));
document.querySelectorAll("th.sort").forEach((heading) => {
  heading.tabIndex = 0;
  heading.addEventListener("click", () => sort(heading));
  heading.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(heading); }
  });
});
document.querySelectorAll("[data-shows]").forEach((box) =>
  box.addEventListener("change", () => document.body.classList.toggle(`no-${box.dataset.shows}`, !box.checked)));
