// Sorting by a column's head, and choosing which answers are shown. The page says everything without it too.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const column = [...head.parentElement.children].indexOf(head);
    const body = head.closest("table").tBodies[0];
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.children[column].dataset.value ?? row.children[column].textContent;
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      const numbers = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
      return numbers ? x - y : x.localeCompare(y);
    };
    const rows = [...body.rows].sort(order);
    if (!rising) rows.reverse();
    body.append(...rows);
  });
}
const shown = document.querySelector("#answers");
const choices = document.querySelectorAll(".filters select, .filters input");
function choose() {
  const [method, outcome, words] = [...choices].map((each) => each.value.toLowerCase());
  for (const row of shown.tBodies[0].rows) {
    const fits = (!method || row.dataset.method === method) && (!outcome || row.dataset.outcome === outcome);
    row.hidden = !(fits && row.textContent.toLowerCase().includes(words));
  }
}
if (shown) for (const each of choices) each.addEventListener("input", choose);
