// The address keeps the reader's choices: the pinned case, filters, hidden reducers, axes, search, order, limits.
const charts = new Map();
let reading = false;

function state() {
  const kept = new URLSearchParams();
  if (pinnedRow >= 0) kept.set("case", idOf(pinnedRow));
  for (const name of data.filters) if ((chosen[name] ?? "") !== (data.opening[name] ?? "")) kept.set(name, chosen[name] || "all");
  for (const series of hiddenSeries) kept.append("hide", data.series[series].name);
  for (const [id, chart] of charts)
    for (const axis of ["y", "x"]) if (chart.axes[axis] !== chart.first[axis]) kept.set(`${id}.${axis}`, chart.axes[axis]);
  const search = document.getElementById("search")?.value.trim();
  if (search) kept.set("search", search);
  if (order.key !== firstOrder.key || order.down) kept.set("sort", `${order.down ? "-" : ""}${order.key}`);
  for (const name of limited) if (budget[name]) kept.set(`max-${name}`, budget[name][1]);
  return kept.toString().replaceAll("%2F", "/").replaceAll("%2C", ",");
}

// Write the address at most once per frame; an address that is an anchor of the page stays.
const keepLink = later(() => {
  if (reading) return;
  const wanted = state(), here = location.hash.slice(1);
  if (wanted === here || (!wanted && !here.includes("="))) return;
  history.replaceState(null, "", wanted ? `#${wanted}` : `${location.pathname}${location.search}`);
});

// Show what the address says; what it does not name is as on a page just opened.
function readLink() {
  if (!location.hash.includes("=")) return;
  const kept = new URLSearchParams(location.hash.slice(1)), search = document.getElementById("search");
  reading = true;
  for (const name of data.filters) choose(name, (kept.get(name) ?? data.opening[name] ?? "").replace(/^all$/, ""));
  for (const chip of chips()) hide(chip, kept.getAll("hide").includes(data.series[chip.dataset.series].name));
  for (const [id, chart] of charts) for (const axis of ["y", "x"]) chooseAxis(id, axis, kept.get(`${id}.${axis}`) ?? chart.first[axis]);
  if (search) search.value = kept.get("search") ?? "";
  if (kept.has("sort")) sortBy(kept.get("sort").replace(/^-/, ""), kept.get("sort").startsWith("-"));
  else if (order !== firstOrder) sortBy(firstOrder.key, firstOrder.down);
  for (const name of limited) setLimit(name, kept.get(`max-${name}`));
  changed();
  const row = kept.has("case") ? rowOf(kept.get("case")) : -1;
  if (row >= 0) pin(row);
  else if (kept.has("case")) tellMissing(kept.get("case"));
  else unpin();
  reading = false;
}

function choose(name, value) {
  const select = document.querySelector(`[data-filter="${CSS.escape(name)}"]`);
  if (!select || select.value === value || ![...select.options].some((option) => option.value === value)) return;
  select.value = chosen[name] = value;
  scope = inScope();
}

function chooseAxis(id, axis, value) {
  const select = document.querySelector(`#${CSS.escape(id)} [data-axis="${axis}"]`);
  if (!select || select.value === value || ![...select.options].some((option) => option.value === value)) return;
  select.value = value;
  select.dispatchEvent(new Event("change"));
}

function setLimit(name, text) {
  const slider = sliderOf(name), at = slider ? data.budget.limits[name].findIndex(([, written]) => written === text) : -1;
  if (!slider) return;
  slider.value = at < 0 ? slider.max : at;
  showBudget();
}

function rowOf(id) {
  for (let row = 0; row < data.size; row++) if (idOf(row) === id) return row;
  return -1;
}

const linkOf = (row) => `#${new URLSearchParams({ case: idOf(row) }).toString().replaceAll("%2F", "/").replaceAll("%2C", ",")}`;
