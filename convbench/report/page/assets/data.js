// The page's data: columns decoded when first asked for, ids put together from their words.
const data = JSON.parse(document.getElementById("data").textContent);
const decoded = new Map();

function decode(raw) {
  if (!raw) return new Array(data.size).fill(null);
  if (Array.isArray(raw)) return raw;
  return raw.c ? raw.c.map((code) => raw.v[code]) : new Array(data.size).fill(raw.v[0]);
}

function column(name) {
  if (!decoded.has(name)) decoded.set(name, name === "curve" ? decode(data.curve) : decode(data.columns[name]));
  return decoded.get(name);
}

const costs = new Map((data.costs ?? []).map((cost) => [cost.name, cost]));
const valuesOf = (axis) => column(costs.has(axis) ? costs.get(axis).column : axis);
const unitOf = (axis) => (costs.has(axis) ? costs.get(axis).unit : "size");
const idOf = (row) => data.ids[row].map((code) => data.words[code]).join("/");

// As Python's shlex.quote(glob.escape(id)) writes it, so that a pasted command means this case and nothing else.
function commandOf(row) {
  const id = idOf(row).replace(/[*?[]/g, "[$&]");
  return `${data.command} ${/^[\w@%+=:,./-]+$/.test(id) ? id : `'${id.replaceAll("'", `'"'"'`)}'`}`;
}

function element(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "text", "polyline", "circle", "rect"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Work on what is off the screen waits until it is nearly in view, or printed.
function whenNear(place, work) {
  let near = false, due = false;
  const run = () => { if (due) { due = false; work(); } };
  new IntersectionObserver((entries) => { near = entries[entries.length - 1].isIntersecting; if (near) run(); }, { rootMargin: "500px" }).observe(place);
  addEventListener("beforeprint", run);
  return () => { due = true; if (near) run(); };
}

// Once an event, however many rows change.
function later(work) {
  let waiting = false;
  return () => {
    if (!waiting) requestAnimationFrame(() => { waiting = false; work(); });
    waiting = true;
  };
}
