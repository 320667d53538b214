// A passage's text, and beside it what its codes kept: lost words are dimmed.

import { element } from "./dom.js";

export function kept(pieces) {
  return pieces.map((piece) => (piece.kept ? piece.text : element("del", {}, piece.text)));
}

export function beside(text, telegram) {
  return element(
    "div",
    { class: "beside" },
    element("div", {}, element("h4", {}, "Text"), element("p", {}, text ?? "Texts are not kept here.")),
    element("div", { class: "kept" }, element("h4", {}, "What the memory kept"), element("p", {}, ...telegram)),
  );
}
