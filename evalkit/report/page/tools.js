"use strict";
// Sorting and filtering of tables, and a button to copy a command. All text goes in as text.
(() => {
  const LONG = 16; // rows from which a table has a filter
  const collator = new Intl.Collator("en", { numeric: true });

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  // What a cell is sorted by: a number, a text, or null where it has no value.
  function valueOf(row, column) {
    const cell = row.cells[column];
    if ("missing" in cell.dataset) return null;
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
  }

  function compare(one, other, direction) {
    if (one === null || other === null) return (one === null) - (other === null);
    if (typeof one === "number" && typeof other === "number") return direction * (one - other);
    return direction * collator.compare(one, other);
  }

  function sort(table, column, direction, original) {
    const rows = original.map((row) => [row, direction ? valueOf(row, column) : null]);
    if (direction) rows.sort(([, one], [, other]) => compare(one, other, direction));
    table.tBodies[0].append(...rows.map(([row]) => row));
  }

  // A header turns from unsorted to its first direction, to the other, and back; numbers begin with the largest.
  function makeSortable(table) {
    const original = [...table.tBodies[0].rows];
    if (original.length < 2) return;
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      const first = header.classList.contains("number") ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const next = { [first]: second, [second]: null };
      const button = make("button", { type: "button" }, ...header.childNodes);
      header.replaceChildren(button);
      button.addEventListener("click", () => {
        const now = header.getAttribute("aria-sort");
        const wanted = now ? next[now] : first;
        headers.forEach((each) => each.removeAttribute("aria-sort"));
        if (wanted) header.setAttribute("aria-sort", wanted);
        sort(table, column, { ascending: 1, descending: -1 }[wanted] ?? 0, original);
      });
    });
  }

  // Put a box before `place` that hides the items without the text typed into it.
  function makeFilter(items, place, what) {
    if (items.length < LONG) return;
    const texts = new Map(items.map((item) => [item, item.textContent.toLowerCase()]));
    const input = make("input", { type: "search", autocomplete: "off", spellcheck: false });
    const count = make("span", { className: "count" });
    count.setAttribute("role", "status");
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      for (const item of items) item.hidden = !texts.get(item).includes(wanted);
      const left = items.filter((item) => !item.hidden).length;
      count.textContent = wanted ? `${left.toLocaleString("en")} of ${items.length.toLocaleString("en")}` : "";
    });
    place.before(make("p", { className: "filter" }, make("label", {}, `Filter ${what} `, input), count));
  }

  function selectAll(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }

  function makeCopyable(command) {
    const pre = command.querySelector("pre");
    const button = make("button", { type: "button", className: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(pre.textContent);
        button.textContent = "Copied";
      } catch {
        selectAll(pre); // a page that is not trusted with the clipboard
        button.textContent = "Selected";
      }
    });
    command.append(button);
  }

  for (const table of document.querySelectorAll("figure.table table")) {
    makeSortable(table);
    makeFilter([...table.tBodies[0].rows], table.parentElement, "rows");
  }
  for (const matches of document.querySelectorAll(".matches")) makeFilter([...matches.children], matches, "matches");
  document.querySelectorAll(".command").forEach(makeCopyable);
})();
