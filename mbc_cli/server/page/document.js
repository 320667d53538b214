// One document in a dialog: its text, what was kept, and a way to forget it.

import { call, documentPath, query } from "./api.js";
import { byId, element, time } from "./dom.js";
import { attempt, changed } from "./page.js";
import { beside, kept } from "./passages.js";
import { at } from "./state.js";

let shown = null;

export function openDocument(id) {
  return attempt(async () => {
    const found = await call(query(documentPath(id), { at: at() }));
    shown = id;
    byId("document-title").textContent = found.title ?? found.id;
    const facts = { Id: found.id, Time: time(found.time), ...found.metadata };
    const list = Object.entries(facts).filter(([, value]) => value !== "" && value !== null);
    const passages = found.passages.map((passage) =>
      beside(
        found.text === null ? null : [...found.text].slice(passage.start, passage.end).join(""),
        passage.pieces === null ? ["Codes that are no words."] : kept(passage.pieces),
      ),
    );
    byId("document-body").replaceChildren(
      element(
        "dl",
        {},
        ...list.flatMap(([name, value]) => [
          element("dt", {}, name),
          element("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value)),
        ]),
      ),
      ...passages,
    );
    byId("document-forget").hidden = at() !== null;
    byId("document").showModal();
  });
}

function confirmed(text) {
  const dialog = byId("confirm");
  byId("confirm-text").textContent = text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

export function startDocument() {
  byId("document-close").addEventListener("click", () => byId("document").close());
  byId("document-forget").addEventListener("click", () =>
    attempt(async () => {
      const warning = `${shown} is not read any more. Earlier snapshots keep it until the store is purged.`;
      if (!(await confirmed(warning))) return;
      await call(documentPath(shown), { method: "DELETE" });
      byId("document").close();
      changed();
    }),
  );
}
