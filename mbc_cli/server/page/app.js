// The page: its views, which one is shown, and when the memory is read.

import { call, query } from "./api.js";
import { startAsk } from "./ask.js";
import { showBytes } from "./bytes.js";
import { startDocument } from "./document.js";
import { showDocuments, startDocuments } from "./documents.js";
import { byId, number } from "./dom.js";
import { showHistory, startHistory } from "./history.js";
import { attempt, onChange } from "./page.js";
import { at, onMoment, readAsOf } from "./state.js";

const VIEWS = { ask: async () => {}, documents: showDocuments, history: showHistory, bytes: showBytes };

let view = "ask";

async function summarise() {
  const info = await call(query("/v1/memory/info", { at: at() }));
  byId("summary").textContent = `${number(info.documents)} documents, ${number(info.bytes)} bytes, adapter ${info.adapter}`;
  byId("add").hidden = info.read_only || at() !== null;
}

function show() {
  const name = location.hash.slice(1);
  if (Object.hasOwn(VIEWS, name)) view = name; // #main is the way past the header
  for (const each of Object.keys(VIEWS)) byId(`view-${each}`).hidden = each !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  return attempt(async () => {
    await summarise();
    await VIEWS[view]();
  });
}

startAsk();
startDocument();
startDocuments();
startHistory();
onChange(show);
onMoment((past) => {
  byId("past").hidden = past === null;
  byId("past-label").textContent = past?.label ?? "";
  byId("answer").replaceChildren();
  byId("sources").replaceChildren();
  show();
});
byId("past-end").addEventListener("click", () => readAsOf(null));
addEventListener("hashchange", show);
show();
