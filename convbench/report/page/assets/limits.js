// The budget: two sliders, with answers from Python for every position; limits are lines on each chart with that axis.
const limited = ["latency", "memory"];
const budget = { latency: null, memory: null, rows: [] };
const limitDrawers = []; // functions that draw the limits

function setUpBudget() {
  const place = document.getElementById("budget");
  if (!place) return;
  for (const slider of place.querySelectorAll("[data-limit]")) slider.addEventListener("input", () => { showBudget(); keepLink(); });
  showBudget();
}

const sliderOf = (name) => document.getElementById(`limit-${name}`);
const stepOf = (name) => (sliderOf(name) ? Number(sliderOf(name).value) : 0);

function showBudget() {
  const { limits, answers, cells } = data.budget;
  for (const name of limited) {
    budget[name] = limits[name][stepOf(name)] ?? null;
    const slider = sliderOf(name), text = budget[name] ? spaced(budget[name][1]) : "no limit";
    if (!slider) continue;
    slider.parentNode.querySelector("output").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }
  const replies = cells[stepOf("latency") * (limits.memory.length + 1) + stepOf("memory")].map((code) => answers[code]);
  budget.rows = replies.map(([, row]) => row).filter((row) => row !== null);
  document.getElementById("budget-answer").replaceChildren(...replies.map(([text, row]) => {
    const line = element("p", {}, text);
    if (row !== null) line.append(" ", pinButton(row));
    return line;
  }));
  document.querySelector("#budget code").textContent = adviseCommand();
  limitDrawers.forEach((draw) => draw());
}

const spaced = (text) => text.replace(/(?<=\d)(?=[a-zA-Z])/, " ").replace("us", "µs");

function adviseCommand() {
  const given = limited.filter((name) => budget[name]).map((name) => ` --${name} ${budget[name][1]}`);
  return `convbench advise ${directory()}${given.join("")}`;
}

// The run lies beside this page if the page was opened from disk and not written elsewhere.
const isPlaced = () => location.protocol === "file:" && !data.elsewhere;

// The run's directory, quoted for a shell, or escaped for a Python string.
function directory(python = false) {
  if (!isPlaced()) return "RUN";
  const path = decodeURIComponent(location.pathname).replace(/\/[^/]*$/, "") || "/";
  if (python) return path.replace(/[\\']/g, "\\$&");
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'"'"'`)}'`;
}

function pinButton(row) {
  const button = element("button", { type: "button", "aria-label": `Show ${titleOf(row)}` }, "Show");
  button.addEventListener("click", () => pin(row));
  return button;
}

// Dashed lines at the limits; places holds by axis a function from a value to a coordinate of the box, or nothing.
function limitLines(box, names, places) {
  const lines = [];
  for (const axis of ["x", "y"]) {
    const limit = budget[names[axis]], at = limit && places[axis] ? places[axis](limit[0]) : null;
    const [from, length] = axis === "x" ? [box.x, box.width] : [box.y, box.height];
    if (at === null || at < from - 0.5 || at > from + length + 0.5) continue;
    const d = axis === "x" ? `M${tenth(at)} ${box.y}v${box.height}` : `M${box.x} ${tenth(at)}h${box.width}`;
    lines.push(element("path", { class: "limit", d }));
    const where = axis === "x" ? { x: tenth(at + 3), y: box.y + 8 } : { x: box.x + box.width - 3, y: tenth(at - 3), "text-anchor": "end" };
    lines.push(element("text", { class: "limit-label", ...where }, `≤ ${spaced(limit[1])}`));
  }
  return lines;
}

// A matplotlib drawing with a known scale on an axis.
function ruleFixed(figure, spec) {
  const svg = figure.querySelector(".plot > svg"), layer = element("g", { class: "limits" }), box = boxOf(svg);
  const scales = Object.fromEntries(Object.entries(spec.scale).map(([axis, [, low, high]]) => [axis,
    axis === "x" ? new Scale([low, high], box.x, box.x + box.width) : new Scale([low, high], box.y + box.height, box.y)]));
  const names = Object.fromEntries(Object.entries(spec.scale).map(([axis, [name]]) => [axis, name]));
  const places = Object.fromEntries(Object.entries(scales).map(([axis, scale]) => [axis, (value) => scale.place(value)]));
  svg.append(layer);
  limitDrawers.push(() => layer.replaceChildren(...limitLines(box, names, places)));
}

function boxOf(svg) {
  const box = svg.querySelector("clipPath rect");
  return Object.fromEntries(["x", "y", "width", "height"].map((name) => [name, Number(box.getAttribute(name))]));
}
