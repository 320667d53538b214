// The commits, and the memory as of one of them.

import { call, query } from "./api.js";
import { byId, element, filled, number, table, time } from "./dom.js";
import { onSubmit } from "./page.js";
import { readAsOf } from "./state.js";

export async function showHistory() {
  const { commits } = await call("/v1/memory/history?limit=200");
  const columns = [
    { name: "Time (UTC)" },
    { name: "Change" },
    { name: "Documents", class: "number" },
    { name: "Tags", class: "minor" },
    { name: "" },
  ];
  const rows = commits.map((commit) => [
    time(commit.time),
    change(commit),
    number(commit.documents),
    commit.tags.join(", "),
    element(
      "button",
      {
        type: "button",
        class: "link",
        "aria-label": `Read the memory as of ${time(commit.time)}`,
        onclick: () => readAsOf({ at: commit.id, label: time(commit.time) }),
      },
      "read as of then",
    ),
  ]);
  byId("commits").replaceChildren(table("Commits", columns, rows));
}

function change(commit) {
  const counts = [
    [commit.added, "added"],
    [commit.replaced, "replaced"],
    [commit.forgotten, "forgotten"],
  ].filter(([count]) => count > 0);
  const told = counts.map(([count, what]) => `${number(count)} ${what}`).join(", ");
  return told || commit.operation;
}

export function startHistory() {
  onSubmit(byId("at-form"), async () => {
    const { at } = filled(byId("at-form"));
    await call(query("/v1/memory/info", { at })); // says what is wrong with it
    readAsOf({ at, label: at });
  });
}
