// Documents: browse, search, add.

import { call, query } from "./api.js";
import { byId, element, filled, table, time } from "./dom.js";
import { openDocument } from "./document.js";
import { attempt, changed, onSubmit } from "./page.js";
import { showSources } from "./sources.js";
import { at } from "./state.js";

const PAGE = 20;
let offset = 0;

export async function showDocuments() {
  const { question, ...filters } = filled(byId("find-form"));
  byId("pages").hidden = question !== undefined;
  if (question !== undefined) {
    const where = filters.where === undefined ? undefined : [filters.where];
    const body = { ...filters, question, where, at: at() ?? undefined, top_k: PAGE };
    const { results } = await call("/v1/memory/search", { method: "POST", body });
    await showSources(byId("documents"), results[0].sources, "Passages that speak to it");
    return;
  }
  const found = await call(query("/v1/memory/documents", { ...filters, at: at(), limit: PAGE, offset }));
  const columns = [{ name: "Title" }, { name: "Id", class: "minor" }, { name: "Time" }, { name: "Passages", class: "number" }];
  const rows = found.documents.map((each) => [
    element("button", { type: "button", class: "link", onclick: () => openDocument(each.id) }, each.title ?? each.id),
    each.id,
    time(each.time),
    String(each.passages),
  ]);
  byId("documents").replaceChildren(
    rows.length ? table("Documents", columns, rows) : element("p", { class: "quiet" }, "There are none."),
  );
  byId("earlier").disabled = offset === 0;
  byId("later").disabled = found.next_offset === null;
}

function turn(pages) {
  offset = Math.max(0, offset + pages * PAGE);
  return attempt(showDocuments);
}

async function add() {
  const form = byId("add-form");
  const report = await call("/v1/memory/documents", { method: "POST", body: filled(form) });
  const what = report.added ? "Remembered" : report.replaced ? "Replaced" : "Was there already";
  byId("added").textContent = `${what}: ${report.ids[0]}`;
  form.reset();
  changed();
}

export function startDocuments() {
  onSubmit(byId("add-form"), add);
  onSubmit(byId("find-form"), () => {
    offset = 0;
    return showDocuments();
  });
  byId("find-form").addEventListener("reset", () => {
    offset = 0;
    setTimeout(() => attempt(showDocuments)); // the fields are empty only after this event
  });
  byId("earlier").addEventListener("click", () => turn(-1));
  byId("later").addEventListener("click", () => turn(1));
}
