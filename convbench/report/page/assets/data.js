// The page's data: columns decoded when first asked for, ids put together from their words.
const stored = document.getElementById("data");
const data = stored.type === "application/json" ? JSON.parse(stored.textContent) : await inflated(stored.textContent);

function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

const decoded = new Map();

function decode(raw) {
  if (!raw) return new Array(data.size).fill(null);
  if (Array.isArray(raw)) return raw;
  return raw.c ? raw.c.map((code) => raw.v[code]) : new Array(data.size).fill(raw.v[0]);
}

// Decode a column once; the key is its name, or the table column's key with "text" or "rank".
function once(key, raw) {
  if (!decoded.has(key)) decoded.set(key, decode(raw));
  return decoded.get(key);
}

const column = (name) => once(name, name === "curve" || name === "against" ? data[name] : data.columns[name]);
const texts = (key) => once(`${key} text`, data.table[key]?.text);
const ranks = (key) => (typeof data.table[key]?.rank === "string" ? column(data.table[key].rank) : once(`${key} rank`, data.table[key]?.rank));
const axes = new Map((data.axes ?? []).map((axis) => [axis.name, axis]));
const valuesOf = (axis) => column(axes.get(axis).column);
const idOf = (row) => data.ids[row].map((code) => data.words[code]).join("/");

// The command that measures this case alone, into a directory of its own; its parts come from payload._repeat.
function commandOf(row) {
  const id = idOf(row).replace(/[*?[]/g, "[$&]"), { python, before, between, after } = data.repeat;
  const quoted = python ? JSON.stringify(id) : /^[\w@%+=:,./-]+$/.test(id) ? id : `'${id.replaceAll("'", `'"'"'`)}'`;
  return `${before}${quoted}${between}${row + 1}${after}`;
}

// A search matches if the text has every word, in any order and in upper or lower case.
const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
const hasAll = (text, words) => words.every((word) => text.toLowerCase().includes(word));

function element(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "text", "polyline", "circle", "rect", "title", "clipPath"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Postpone the work on a place off the screen until it is nearly in view, or printed.
function whenNear(place, work) {
  let near = false, due = false;
  const run = () => { if (due) { due = false; work(); } };
  new IntersectionObserver((entries) => { near = entries[entries.length - 1].isIntersecting; if (near) run(); }, { rootMargin: "500px" }).observe(place);
  addEventListener("beforeprint", run);
  return () => { due = true; if (near) run(); };
}

// Do the work once per frame, however many rows change.
function later(work) {
  let waiting = false;
  return () => {
    if (!waiting) requestAnimationFrame(() => { waiting = false; work(); });
    waiting = true;
  };
}
