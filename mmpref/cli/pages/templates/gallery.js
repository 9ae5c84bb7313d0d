"use strict";
const { rows, images } = JSON.parse(document.getElementById("data").textContent);
const PAGE = 24;
const ORDERS = {
  row: (a, b) => a.n - b.n,
  "least similar first": (a, b) => (a.s ?? 2) - (b.s ?? 2) || a.n - b.n,
  "most similar first": (a, b) => (b.s ?? -2) - (a.s ?? -2) || a.n - b.n,
  "most words differ first": (a, b) => b.d - a.d || a.n - b.n,
  "fewest words differ first": (a, b) => a.d - b.d || a.n - b.n,
  "longest first": (a, b) => b.w - a.w || a.n - b.n,
};
const text = (pieces) => pieces.map(([piece]) => piece).join("");
for (const row of rows) {
  row.chosen = text(row.c);
  row.rejected = text(row.r);
  row.found = `${row.a?.join("\n") ?? ""}\n${row.p}\n${row.k ?? ""}\n${row.chosen}\n${row.rejected}`.toLowerCase();
}

const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const fill = (select, values, all) => {
  if (all) select.append(make("option", { value: "", textContent: all }));
  for (const value of values) select.append(make("option", { value, textContent: value }));
  select.hidden = all && values.length < 2;
};
const distinct = (key) => [...new Set(rows.map((row) => row[key]))].sort();
fill($("method"), distinct("m"), "every method");
fill($("source"), distinct("f"), "every source");
fill($("order"), Object.keys(ORDERS));

const answer = (name, pieces, title = name) => {
  const shown = make("p", { className: name }, make("small", { textContent: title }), make("br"));
  for (const [piece, differs] of pieces) {
    shown.append(differs ? make("mark", { textContent: piece }) : piece);
  }
  return shown;
};
const card = (row) => {
  const shown = make("article", { className: "pair" });
  for (const index of row.i) shown.append(make("img", { src: images[index], alt: row.a?.join(", ") ?? `image of row ${row.n}` }));
  shown.append(make("p", { className: "prompt", textContent: row.p }));
  if (row.k) shown.append(answer("context", [[row.k, 0]], "answer so far"));
  shown.append(answer("chosen", row.c), answer("rejected", row.r));
  for (const problem of row.x) shown.append(make("p", { className: "problem", textContent: problem }));
  for (const note of row.o) shown.append(make("p", { className: "note", textContent: note }));
  const similarity = row.s === null ? "" : `, similarity ${row.s.toFixed(3)}`;
  const named = row.a ? ` (${row.a.join(", ")})` : "";
  const about = `row ${row.n}${named}, ${row.m}, ${row.f}${similarity}, ${Math.round(100 * row.d)} % of words differ`;
  shown.append(make("small", { textContent: about }));
  return shown;
};

const FILTERS = ["text", "method", "source", "least", "most", "problems", "order"];
const value = (id) => ($(id).type === "checkbox" ? ($(id).checked ? "1" : "") : $(id).value);
let page = 0;
// The state is in the address, so that a view can be kept and passed on.
const read = () => {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const id of FILTERS) {
    if ($(id).type === "checkbox") $(id).checked = state.has(id);
    else if (state.has(id)) $(id).value = state.get(id);
  }
  page = Number(state.get("page") || 1) - 1;
};
const write = () => {
  const state = new URLSearchParams(FILTERS.map((id) => [id, value(id)]).filter(([, set]) => set));
  if ($("order").selectedIndex <= 0) state.delete("order");
  if (page) state.set("page", page + 1);
  history.replaceState(null, "", `#${state}`);
};
const chosenRows = () => {
  const wanted = $("text").value.toLowerCase();
  const [least, most] = [Number($("least").value || 0), Number($("most").value || Infinity)];
  return rows
    .filter((row) => row.found.includes(wanted))
    .filter((row) => !$("method").value || row.m === $("method").value)
    .filter((row) => !$("source").value || row.f === $("source").value)
    .filter((row) => row.w >= least && row.w <= most)
    .filter((row) => !$("problems").checked || row.x.length)
    .sort(ORDERS[$("order").value]);
};
const show = () => {
  const found = chosenRows();
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  $("pairs").replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(card));
  $("count").textContent = `${found.length} of ${rows.length} rows`;
  $("number").value = page + 1;
  $("number").max = pages;
  $("pages").textContent = `of ${pages}`;
  $("previous").disabled = page === 0;
  $("next").disabled = page === pages - 1;
  write();
};
const turn = (to) => {
  page = to;
  show();
  $("gallery").scrollIntoView();
};
for (const id of FILTERS) {
  $(id).addEventListener("input", () => {
    page = 0;
    show();
  });
}
$("previous").addEventListener("click", () => turn(page - 1));
$("next").addEventListener("click", () => turn(page + 1));
$("number").addEventListener("change", () => turn(Number($("number").value) - 1));
window.addEventListener("hashchange", () => {
  read();
  show();
});
read();
show();
