// The table of all cases: searched, sorted and filtered from the data, some rows at a time.
const page = 100;
let shownRows = page;
const firstOrder = { key: data.table?.latency ? "latency" : "params", down: false };
let order = firstOrder;

// The same cells as in the rows that the page has without this script: Python makes all texts.
function rowElement(row, heads) {
  const [first, ...further] = heads.map(({ key }) => texts(key)[row]);
  const name = element("button", { type: "button", class: "name" }, first);
  const head = element("th", { scope: "row" }, swatchOf(row), " ", name);
  if (data.findings.of[row]) head.append(" ", element("span", { class: "tag warn", title: findingsOf(row).map(([, text]) => text).join("\n") }, "!"));
  const made = element("tr", { "data-row": row }, head, ...further.map((text, i) => element("td", heads[i + 1].numeric ? { class: "n" } : {}, text)));
  made.append(element("td", {}, copyButton(row)));
  made.addEventListener("click", () => pin(row));
  made.classList.toggle("pinned", row === pinnedRow);
  return made;
}

function swatchOf(row) {
  const look = data.series[data.of[row]];
  return element("svg", { class: "swatch", viewBox: "-5 -5 10 10", "aria-hidden": "true" }, element("path", { d: look.shape, class: `h${look.hue}` }));
}

// Rows in view in their order; kept while only reducers are hidden and shown.
let kept = null;

function ordered() {
  const searchWords = wordsOf(document.getElementById("search").value);
  const wish = [order.key, order.down, ...searchWords].join(" ");
  if (kept && kept.scope === scope && kept.wish === wish) return kept.rows;
  const rows = (searchWords.length ? measuredRows : scope).filter((row) => hasAll(idOf(row), searchWords));
  const value = ranks(order.key), sign = order.down ? -1 : 1;
  const keyedRows = rows.map((row) => [value[row], row]).sort(([a, i], [b, j]) => {
    if (a === null || b === null) return (a === null) - (b === null) || i - j;
    return (a < b ? -sign : a > b ? sign : 0) || i - j;
  });
  kept = { scope, wish, rows: keyedRows.map(([, row]) => row) };
  return kept.rows;
}

// The page starts with Python's rows, so this is first called after the first frame.
function drawTable() {
  const table = document.getElementById("table");
  if (!table) return;
  const rows = ordered().filter(isShown);
  const heads = headsOf();
  table.tBodies[0].replaceChildren(...rows.slice(0, shownRows).map((row) => rowElement(row, heads)));
  document.getElementById("count").textContent = countOf(rows);
  document.getElementById("more").hidden = rows.length <= shownRows;
}

// What a select lets through; "with" alone would not tell what.
function filterWords({ dataset: { filter }, value, selectedOptions: [{ textContent }] }) {
  return filter === "layer_norm" ? `${textContent} LayerNorm` : worded(filter, value);
}

// How many of the cases are listed, and which filters hide the others; a search covers all cases.
function countOf(rows) {
  const number = (count) => grouped(String(count)), total = `${number(measuredRows.length)} ${measuredRows.length === 1 ? "case" : "cases"}`;
  const filters = [...document.querySelectorAll("#selects select")].filter(({ value }) => value).map(filterWords);
  const words = wordsOf(document.getElementById("search").value).length || !filters.length ? "" : `: ${filters.join(", ")} (chosen under Trade-offs)`;
  const few = Math.min(shownRows, rows.length), head = few < rows.length ? `${number(few)} of ${number(rows.length)} rows, ` : "";
  return `${head}${number(rows.length)} of ${total}${words}`;
}

function setUpTable() {
  if (!document.getElementById("table")) return;
  const redraw = later(drawTable);
  for (const head of document.querySelectorAll("#table thead th[data-key]")) head.firstElementChild.addEventListener("click", () => sortBy(head.dataset.key, order.key === head.dataset.key && !order.down));
  document.getElementById("search").addEventListener("input", () => { shownRows = page; redraw(); keepLink(); });
  document.getElementById("more").addEventListener("click", () => { shownRows += 5 * page; drawTable(); });
  setUpExports();
  const printed = (rows) => () => { shownRows = rows(); drawTable(); };
  let before = page;
  addEventListener("beforeprint", printed(() => { before = shownRows; return Infinity; }));
  addEventListener("afterprint", printed(() => before));
  listeners.push(whenNear(document.getElementById("table"), drawTable));
}

function sortBy(key, down) {
  const head = document.querySelector(`#table thead th[data-key="${CSS.escape(key)}"]`);
  if (!head) return;
  order = { key, down };
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  drawTable();
  keepLink();
}
