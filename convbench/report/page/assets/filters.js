// Which rows are in view: the filters above the charts apply to every chart and to the table.
const hiddenSeries = new Set();
const chosen = { ...data.opening };
const listeners = [];
const changed = () => listeners.forEach((listener) => listener());
const measuredRows = [];
let scope = [];

// Rows that the selects let through; the axes are made for these, so that they stay put when reducers are hidden.
function inScope() {
  const wanted = Object.entries(chosen).filter(([, value]) => value !== "").map(([name, value]) => [column(name), value]);
  return measuredRows.filter((row) => wanted.every(([values, value]) => suits(values[row], value)));
}

// A select's value is text. A case to which the column does not apply always passes: a user's own model has no
// backbone, a case on a GPU no threads.
const suits = (own, value) => own === null || String(own) === value;

const isShown = (row) => !hiddenSeries.has(data.of[row]);

function setUpFilters() {
  const status = column("status");
  for (let row = 0; row < data.size; row++) if (status[row] === "ok") measuredRows.push(row);
  for (const name of data.filters) addSelect(name);
  for (const chip of chips()) chip.addEventListener("click", () => toggle(chip));
  rove([...document.querySelectorAll(".chip, .legend .all")]);
  document.querySelector(".legend .all").addEventListener("click", toggleAll);
  scope = inScope();
}

// Make many buttons one tab stop: the arrow keys go from one to the next.
function rove(buttons) {
  const stop = (current) => buttons.forEach((button) => { button.tabIndex = button === current ? 0 : -1; });
  stop(buttons[0]);
  buttons.forEach((button, at) => {
    button.addEventListener("focus", () => stop(button));
    button.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = event.key === "Home" ? 0 : event.key === "End" ? buttons.length - 1 : by ? (at + by + buttons.length) % buttons.length : -1;
      if (next < 0) return;
      event.preventDefault();
      buttons[next].focus();
    });
  });
}

function addSelect(name) {
  const select = element("select", { "data-filter": name }, element("option", { value: "" }, "all"));
  const values = [...new Set(measuredRows.map((row) => column(name)[row]))].filter((value) => value !== null);
  if (values.length < 2) return;
  for (const value of values.sort((a, b) => (a < b ? -1 : 1))) select.append(element("option", { value }, name === "layer_norm" ? (value ? "with" : "without") : short(value)));
  select.value = chosen[name] ?? "";
  select.addEventListener("change", () => { chosen[name] = select.value; scope = inScope(); changed(); });
  document.getElementById("selects").append(element("label", {}, `${words[name] || name} `, select));
}

const words = { backbone: "Backbone", variant: "Variant", scenario: "Scenario", device: "Device", threads: "Threads", clip: "Clip", rnn: "RNN", layer_norm: "LayerNorm", head: "Head", model: "Model", environment: "Environment" };
// A long value cut to 48 letters; an import path keeps its end, which distinguishes it from others of its package.
function short(value) {
  const text = String(value);
  return text.length <= 48 ? text : text.includes(":") ? `…${text.slice(-47)}` : `${text.slice(0, 47)}…`;
}

const chips = () => document.querySelectorAll(".chip");

function hide(chip, off) {
  chip.setAttribute("aria-pressed", String(!off));
  hiddenSeries[off ? "add" : "delete"](Number(chip.dataset.series));
}

function toggle(chip) {
  hide(chip, chip.getAttribute("aria-pressed") === "true");
  changed();
}

function toggleAll() {
  const off = hiddenSeries.size === 0;
  for (const chip of chips()) hide(chip, off);
  changed();
}
