// The passages that an answer was read from, or that a search found.

import { call, documentPath, query } from "./api.js";
import { openDocument } from "./document.js";
import { element, number } from "./dom.js";
import { beside, kept } from "./passages.js";
import { at } from "./state.js";

export async function showSources(place, sources, heading) {
  const documents = new Map();
  for (const id of new Set(sources.map((source) => source.document_id))) {
    documents.set(id, call(query(documentPath(id), { at: at() })).catch(() => null));
  }
  const shown = [];
  for (const source of sources) {
    const passages = (await documents.get(source.document_id))?.passages ?? [];
    const passage = passages.find((each) => each.start === source.start && each.end === source.end);
    const telegram = passage?.pieces ? kept(passage.pieces) : [source.telegram ?? "Codes that are no words."];
    shown.push(
      element(
        "article",
        {},
        element(
          "h3",
          {},
          element(
            "button",
            { type: "button", class: "link", onclick: () => openDocument(source.document_id) },
            source.title ?? source.document_id,
          ),
        ),
        element(
          "div",
          { class: "quiet" },
          `${source.document_id}, characters ${number(source.start)} to ${number(source.end)}, score ${source.score.toFixed(2)}`,
        ),
        beside(source.text, telegram),
      ),
    );
  }
  place.replaceChildren(...(shown.length ? [element("h2", {}, heading), ...shown] : []));
}
