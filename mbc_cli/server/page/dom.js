// Elements without markup in strings: what a document holds is only ever text.

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "rect", "text", "title"]);

// element("button", { class: "main", onclick: f }, "Ask"): children are elements or texts; null is none.
export function element(tag, attributes = {}, ...children) {
  const made = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function table(caption, columns, rows) {
  const head = columns.map((column) => element("th", { scope: "col", class: column.class ?? null }, column.name));
  const body = rows.map((row) =>
    element("tr", {}, ...row.map((cell, place) => element("td", { class: columns[place].class ?? null }, cell ?? ""))),
  );
  return element(
    "div",
    { class: "table", role: "region", "aria-label": caption, tabindex: "0" },
    element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)),
  );
}

export const number = (value) => value.toLocaleString("en");

export const time = (text) => (text === null ? "" : text.slice(0, 19).replace("T", " ").replace(" 00:00:00", ""));

// The fields of a form that are filled in.
export function filled(form) {
  const fields = Object.fromEntries(new FormData(form));
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value.trim() !== ""));
}
