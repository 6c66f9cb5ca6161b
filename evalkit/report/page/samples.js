"use strict";
// Browsing of all samples. Their texts lie deflated in the page and are opened when they are needed; all goes in as text.
(() => {
  const PAGE = 50; // samples in a list
  const CUT = 20000; // characters of a text that are shown at first
  const CHOICE = 200; // characters of a choice beside its likelihood, as in samples.py
  const SIGNS = { right: "✓", wrong: "✗", neither: "–" };
  const label = (outcome) => (outcome === "neither" ? "neither right nor wrong" : outcome);
  // Spaces, tabs and line breaks; what is hidden or turns text round, as in markup.py; and the text between.
  const HIDDEN =
    "\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e" +
    "\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\u{d800}-\\u{dfff}\\u{e0000}-\\u{e007f}";
  const PIECES = new RegExp(`( +)|(\\t)|(\\n)|([${HIDDEN}])|[^ \\t\\n${HIDDEN}]+`, "gu");
  const ALL_HIDDEN = new RegExp(`[${HIDDEN}]`, "gu");

  const root = document.getElementById("browser");
  if (typeof DecompressionStream === "undefined") return;
  const form = root.querySelector("form");
  const panes = root.querySelector(".panes");
  const rows = root.querySelector(".rows");
  const detail = root.querySelector(".detail");
  const state = { index: null, found: [], page: 0, open: null, showsWhitespace: true };

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

  const blocks = new Map(); // name of a block -> promise of what it holds

  // The page may still be read while this runs: an element that nothing follows yet may be read in part.
  async function element(name) {
    const found = document.getElementById(name);
    if (document.readyState === "loading" && !found?.nextElementSibling) {
      await new Promise((done) => document.addEventListener("DOMContentLoaded", done, { once: true }));
    }
    return document.getElementById(name);
  }

  async function unpack(name) {
    const packed = atob((await element(name)).textContent);
    const bytes = new Uint8Array(packed.length);
    for (let at = 0; at < packed.length; at++) bytes[at] = packed.charCodeAt(at);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return JSON.parse(await new Response(stream).text());
  }

  function block(name) {
    if (!blocks.has(name)) blocks.set(name, unpack(name));
    return blocks.get(name);
  }

  // The piece of a kind with a number: in the last block that begins at or before it.
  async function piece(kind, number) {
    const starts = state.index.starts[kind];
    let low = 0;
    for (let high = starts.length; high - low > 1; ) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= number) low = middle;
      else high = middle;
    }
    return (await block(`${kind}-${low}`))[number - starts[low]];
  }

  function facet(name, at) {
    const value = state.index.columns[name][at];
    return name in state.index.names ? state.index.names[name][value] : value;
  }

  let searched = null; // promise of what a search looks at, a text for each sample

  async function loadSearched() {
    const { starts, questions, columns } = state.index;
    const all = (kind, number) => Promise.all(Array.from({ length: number }, (_, place) => block(`${kind}-${place}`)));
    const texts = (await all("text", questions)).flat();
    const records = (await all("record", starts.record.length)).flat();
    return records.map(([segments, own, { answers, likelihoods }], at) => {
      const question = segments.slice(segments.length - own).map((number) => texts[number]);
      const choices = likelihoods.flatMap((group) => group.rows.map((row) => row[0]));
      return [columns.id[at], ...question, ...answers.map((answer) => answer.text), ...choices].join("\n").toLowerCase();
    });
  }

  function addOptions() {
    const values = {
      ...state.index.names,
      shots: [...new Set(state.index.columns.shots)].sort((one, other) => one - other),
    };
    for (const select of form.querySelectorAll("select")) {
      const options = values[select.name];
      const shown = select.name === "outcome" ? label : (value) => visible(String(value));
      select.append(...options.map((value) => make("option", { value }, shown(value))));
      select.parentElement.hidden = options.length < 2;
    }
  }

  async function search() {
    const typed = form.elements.search.value.trim().toLowerCase();
    let texts = null;
    if (typed) {
      rows.setAttribute("aria-busy", "true");
      searched ??= loadSearched();
      texts = await searched;
      if (form.elements.search.value.trim().toLowerCase() !== typed) return; // a later search is on its way
    }
    const chosen = [...form.querySelectorAll("select")].filter((select) => select.value !== "");
    const fits = (at) =>
      chosen.every((select) => String(facet(select.name, at)) === select.value) && (!typed || texts[at].includes(typed));
    state.found = [...state.index.columns.id.keys()].filter(fits);
    state.page = 0;
    rows.removeAttribute("aria-busy");
    showList();
  }

  function showList() {
    const start = state.page * PAGE;
    const shown = state.found.slice(start, start + PAGE);
    const [total, found] = [state.index.columns.id.length, state.found.length];
    root.querySelector(".count").textContent =
      found === total ? count(total, "sample") : `${found.toLocaleString("en")} of ${count(total, "sample")}`;
    root.querySelector(".place").textContent = found ? `${(start + 1).toLocaleString("en")} to ${(start + shown.length).toLocaleString("en")}` : "";
    root.querySelector(".pager").hidden = found <= PAGE;
    root.querySelector("[data-step='-1']").disabled = state.page === 0;
    root.querySelector("[data-step='1']").disabled = start + PAGE >= found;
    rows.start = start + 1;
    rows.replaceChildren(...(found ? shown.map(makeRow) : [make("li", { className: "soft none" }, "No sample fits.")]));
    const first = rows.querySelector("[aria-current]") ?? rows.querySelector("a");
    if (first) first.tabIndex = 0;
  }

  function makeRow(at) {
    const { columns, names } = state.index;
    const outcome = facet("outcome", at);
    const sign = make("span", { className: `sign ${outcome}`, title: label(outcome) }, SIGNS[outcome]);
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", label(outcome));
    const about = [facet("task", at), count(columns.shots[at], "shot"), columns.id[at]];
    if (names.model.length > 1) about.unshift(facet("model", at));
    const isDirty = facet("scanned", at) === "dirty";
    const link = make(
      "a",
      { href: `#${columns.anchor[at]}`, tabIndex: -1 },
      sign,
      make("span", { className: "question" }, visible(columns.question[at]) || "(empty)"),
      make("span", { className: "said" }, visible(columns.answer[at])),
      make("span", { className: "about" }, visible(about.join(" · ")), ...(isDirty ? [" ", badge("dirty")] : [])),
    );
    if (at === state.open) link.setAttribute("aria-current", "true");
    return make("li", {}, link);
  }

  const badge = (name) => make("span", { className: "badge" }, name);

  function turn(step, last = false) {
    const page = state.page + step;
    if (page < 0 || page * PAGE >= state.found.length) return;
    state.page = page;
    showList();
    const links = rows.querySelectorAll("a");
    focusRow(links[last ? links.length - 1 : 0]);
  }

  function focusRow(link) {
    rows.querySelectorAll("a").forEach((each) => (each.tabIndex = each === link ? 0 : -1));
    link?.focus();
  }

  function moveInList(event) {
    const links = [...rows.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    const keys = {
      ArrowDown: () => (at + 1 < links.length ? focusRow(links[at + 1]) : turn(1)),
      ArrowUp: () => (at > 0 ? focusRow(links[at - 1]) : turn(-1, true)),
      Home: () => focusRow(links[0]),
      End: () => focusRow(links[links.length - 1]),
      PageDown: () => turn(1),
      PageUp: () => turn(-1),
    };
    if (at < 0 || !(event.key in keys) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  }

  function written(character) {
    const code = character.codePointAt(0);
    const [mark, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${mark}${code.toString(16).padStart(digits, "0")}`;
  }

  const visible = (text) => text.replace(ALL_HIDDEN, written);

  // White space keeps its characters, so that what is copied is the text; its signs are drawn beside them.
  function pieces(text) {
    const nodes = [];
    for (const [whole, spaces, tab, line, hidden] of text.matchAll(PIECES)) {
      if (hidden) nodes.push(make("span", { className: "control" }, written(hidden)));
      else if (spaces || tab || line) {
        const white = make("span", { className: "white" }, whole);
        white.dataset.sign = spaces ? "·".repeat(whole.length) : tab ? "→" : "↵";
        nodes.push(white);
      } else nodes.push(whole);
    }
    return nodes;
  }

  function passage(text, className = "") {
    const span = make("span", { className }, ...pieces(text.slice(0, CUT)));
    if (text.length <= CUT) return [span];
    const more = make("button", { type: "button" }, `Show all ${count(text.length, "character")}`);
    more.addEventListener("click", () => {
      span.replaceChildren(visible(text)); // a sign for each space would be too many
      more.remove();
    });
    return [span, more];
  }

  const preformatted = (...content) => make("pre", { tabIndex: 0 }, ...content);

  function heading(label) {
    const [name, ...rest] = label.split(", ");
    const title = make("h4", {}, name.charAt(0).toUpperCase() + name.slice(1));
    if (rest.length) title.append(" ", make("span", {}, rest.join(", ")));
    return title;
  }

  function shortened(text) {
    const left = text.length - CHOICE;
    return left > 0 ? `${text.slice(0, CHOICE)} … ${left.toLocaleString("en")} more characters` : text;
  }

  // Text, likelihoods, and what is to be said of them, where there is anything.
  function likelihoodTable(lines) {
    const width = lines.some((line) => line[4]) ? 5 : 4;
    const cell = (tag, text, column) =>
      make(tag, { className: column > 0 && column < 4 ? "number" : "" }, visible(shortened(text)));
    const row = (tag, texts) => make("tr", {}, ...texts.slice(0, width).map((text, column) => cell(tag, text, column)));
    const head = make("thead", {}, row("th", ["text", "nats", "nats a token", "tokens", "remark"]));
    const table = make("table", {}, head, make("tbody", {}, ...lines.map((line) => row("td", line))));
    return make("div", { className: "scroll" }, table);
  }

  function list(pairs) {
    const shown = pairs.filter(([, value]) => value !== null && value !== "");
    return make("dl", {}, ...shown.map(([key, value]) => make("div", {}, make("dt", {}, key), make("dd", {}, value))));
  }

  function whitespaceToggle() {
    const box = make("input", { type: "checkbox", checked: state.showsWhitespace });
    box.addEventListener("change", () => {
      state.showsWhitespace = box.checked;
      detail.classList.toggle("marked", box.checked);
    });
    return make("label", { className: "toggle" }, box, " white space");
  }

  function promptParts(prompt, texts, own) {
    if (!prompt) return [make("p", { className: "soft" }, "The example alone does not fit the window.")];
    const start = texts.length - own;
    const before = texts.slice(0, start).map((text) => `${text}\n\n`).join("");
    const shots = count(prompt.demonstrations.length, "demonstration");
    const said = `Prompt, ${count(prompt.tokens, "token")} of ${prompt.window.toLocaleString("en")}, ${shots}`;
    const question = passage(texts.slice(start).join("\n\n"), "own");
    return [make("div", { className: "bar" }, heading(said), whitespaceToggle()), preformatted(...(before ? passage(before) : []), ...question)];
  }

  function demonstrations(prompt) {
    if (!prompt?.demonstrations.length) return [];
    const names = make("p", {}, visible(prompt.demonstrations.join(", ")));
    return [make("details", {}, make("summary", {}, "Demonstrations used"), names)];
  }

  function build(at, texts, own, found) {
    const { columns } = state.index;
    const outcome = facet("outcome", at);
    const title = make("h3", { tabIndex: -1 }, make("span", { className: outcome }, SIGNS[outcome]), " ");
    title.append(visible(columns.id[at]));
    const scores = Object.entries(found.statistics).map(([name, values]) => `${name} ${values}`);
    return [
      make("div", { className: "bar" }, title, steps()),
      list([
        ["answer", label(outcome)],
        ["task", visible(facet("task", at))],
        ["model", visible(facet("model", at))],
        ["shots", String(columns.shots[at])],
        ["seed", String(found.seed)],
        ["scan", facet("scanned", at)],
        ["statistics", visible(scores.join("; "))],
        ["place", found.place && visible(found.place)],
      ]),
      ...promptParts(found.prompt, texts, own),
      ...demonstrations(found.prompt),
      ...found.answers.flatMap((answer) => [heading(answer.label), preformatted(...passage(answer.text))]),
      ...found.likelihoods.flatMap((group) => [heading(group.label), likelihoodTable(group.rows)]),
      heading("expected"),
      ...found.targets.map((target) => preformatted(...passage(target))),
    ];
  }

  function steps() {
    const place = state.found.indexOf(state.open);
    const button = (label, name, target) => {
      const made = make("button", { type: "button", disabled: target === undefined }, label);
      made.setAttribute("aria-label", name);
      made.addEventListener("click", () => (location.hash = state.index.columns.anchor[target]));
      return made;
    };
    const before = place > 0 ? state.found[place - 1] : undefined;
    const after = place >= 0 ? state.found[place + 1] : undefined;
    const closing = make("button", { type: "button" }, "Close");
    closing.addEventListener("click", close);
    return make("span", { className: "steps" }, button("←", "Previous sample", before), button("→", "Next sample", after), closing);
  }

  async function open(at) {
    state.open = at;
    const [segments, own, found] = await piece("record", at);
    const texts = await Promise.all(segments.map((number) => piece("text", number)));
    if (state.open !== at) return;
    detail.replaceChildren(...build(at, texts, own, found));
    detail.classList.toggle("marked", state.showsWhitespace);
    detail.hidden = false;
    panes.classList.add("open");
    const place = state.found.indexOf(at);
    if (place >= 0) state.page = Math.floor(place / PAGE);
    showList();
    detail.scrollTop = 0;
    const question = detail.querySelector(".own");
    if (question) question.parentElement.scrollTop = question.offsetTop - 40; // the demonstrations are above it
    detail.querySelector("h3").focus({ preventScroll: true });
    const isBeside = matchMedia("(min-width: 64rem)").matches; // as in style.css
    detail.scrollIntoView({ block: isBeside ? "nearest" : "start" });
    rows.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  function hide() {
    state.open = null;
    detail.hidden = true;
    panes.classList.remove("open");
    showList();
  }

  function close() {
    const name = state.index.columns.anchor[state.open];
    hide();
    history.replaceState(null, "", "#samples");
    focusRow(rows.querySelector(`[href="#${name}"]`) ?? rows.querySelector("a"));
  }

  // What the address names is shown; other sections leave it as it is.
  function follow() {
    const name = location.hash.slice(1);
    const at = state.index.columns.anchor.indexOf(name);
    if (at >= 0) open(at);
    else if (state.open !== null && ["", "samples"].includes(name)) hide();
  }

  async function start() {
    state.index = await block("samples-index");
    addOptions();
    state.found = [...state.index.columns.id.keys()];
    showList();
    document.getElementById("few").hidden = true;
    root.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", search);
    rows.addEventListener("keydown", moveInList);
    form.elements.search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") focusRow(rows.querySelector("a"));
    });
    root.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && state.open !== null) close();
    });
    root.querySelectorAll("[data-step]").forEach((button) => button.addEventListener("click", () => turn(Number(button.dataset.step))));
    addEventListener("hashchange", follow);
    follow();
    performance.mark("samples");
  }

  start();
})();
