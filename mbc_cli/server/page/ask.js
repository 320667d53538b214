// A question, its answer, and the passages that it was read from.

import { call } from "./api.js";
import { byId, element, filled } from "./dom.js";
import { attempt, busy, onSubmit } from "./page.js";
import { showSources } from "./sources.js";
import { at } from "./state.js";

function asked() {
  const { where, top_k: passages, ...fields } = filled(byId("ask-form"));
  if (where !== undefined) fields.where = [where];
  if (passages !== undefined) fields.top_k = Number(passages);
  if (at() !== null) fields.at = at();
  return fields;
}

const percent = (share) => `${Math.round(100 * share)} %`;

function origin(answer) {
  const confidence = answer.confidence === null ? "" : `, ${percent(answer.confidence)} likely to be right`;
  if (answer.from_memory) return `From the memory${confidence}.`;
  return answer.abstained ? "Nothing in the memory speaks to it." : "From the LLM, without the memory.";
}

async function ask() {
  const { answers } = await call("/v1/memory/ask", { method: "POST", body: asked() });
  const [answer] = answers;
  byId("answer").replaceChildren(
    element("p", { class: "text" }, answer.answer ?? "not in memory"),
    element("p", { class: "quiet" }, origin(answer)),
  );
  await showSources(byId("sources"), answer.sources, "Read for it");
}

async function search() {
  const { results } = await call("/v1/memory/search", { method: "POST", body: asked() });
  byId("answer").replaceChildren();
  await showSources(byId("sources"), results[0].sources, "Passages that speak to it");
}

export function startAsk() {
  const form = byId("ask-form");
  onSubmit(form, ask);
  byId("search-only").addEventListener("click", () => {
    if (form.reportValidity()) busy(form, () => attempt(search));
  });
  byId("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
}
