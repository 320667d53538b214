// What the memory weighs, array by array, as a plot.

import { call, query } from "./api.js";
import { byId, element, number } from "./dom.js";
import { at } from "./state.js";

const ROW = 26; // heights and widths in the plot's own units
const WIDTH = 640;
const NAMES = 175;
const FIGURES = 80;

export async function showBytes() {
  const info = await call(query("/v1/memory/info", { at: at() }));
  const codes = info.array_bytes["passages/codes"] ?? 0;
  const figures = {
    Documents: number(info.documents),
    Passages: number(info.passages),
    "Bytes in all": number(info.bytes),
    "Bytes of codes": number(codes),
    "Bytes with history": info.bytes_with_history === null ? "unknown" : number(info.bytes_with_history),
    "The same vectors in float32": info.float32_bytes === null ? "unknown" : `${number(info.float32_bytes)} bytes`,
    "Bits of codes per passage": info.code_entropy_bits.toFixed(0),
    Adapter: info.adapter,
  };
  byId("figures").replaceChildren(
    ...Object.entries(figures).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
  byId("plot").replaceChildren(plot(Object.entries(info.array_bytes).sort(([, a], [, b]) => b - a)));
}

function plot(arrays) {
  const most = Math.max(1, ...arrays.map(([, bytes]) => bytes));
  const told = arrays.map(([name, bytes]) => `${name} ${number(bytes)} bytes`).join(", ");
  const rows = arrays.flatMap(([name, bytes], row) => {
    const width = Math.max(1, (bytes / most) * (WIDTH - NAMES - FIGURES));
    const middle = row * ROW + ROW / 2 + 5;
    return [
      element("text", { x: 0, y: middle }, name),
      element("rect", { x: NAMES, y: row * ROW + 4, width, height: ROW - 8, rx: 2 }),
      element("text", { x: NAMES + width + 6, y: middle }, number(bytes)),
    ];
  });
  return element(
    "svg",
    { class: "plot", viewBox: `0 0 ${WIDTH} ${arrays.length * ROW}`, role: "img", "aria-label": `Bytes by array: ${told}` },
    ...rows,
  );
}
