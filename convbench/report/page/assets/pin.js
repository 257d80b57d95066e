// One case in words: in the tip beside a mark, and pinned with its command.
const pinned = document.getElementById("pin");
let pinnedRow = -1;
let cameFrom = null;
const followers = []; // callbacks that show the pinned case elsewhere
const facts = { rnn: "RNN", clip: "Clip", threads: "Threads" };

// The text of a column of the table, null if nothing was measured.
const measuredText = (key, row) => (ranks(key)[row] === null ? null : texts(key)[row]);

function lines(row) {
  const text = (key) => measuredText(key, row);
  return [
    text("latency") && `${text("latency")} a call [${texts("interval")[row]}]`,
    text("factor") && column("against")[row] !== row && `${text("factor")} the time of ${peerOf(row)}, the fastest similar case`,
    [text("params") && `${text("params")} parameters`, text("flops")].filter(Boolean).join(", "),
    text("memory") && `${text("memory")} peak memory`,
  ].filter(Boolean);
}

// The case that × refers to, with its variant if that differs.
function peerOf(row) {
  const peer = column("against")[row], variant = column("variant")[peer];
  return `${titleOf(peer)}${variant === column("variant")[row] ? "" : ` in ${variant}`}`;
}

function titleOf(row) {
  const size = column("lstm_input")[row];
  if (!size) return short(texts("reducer")[row]);
  return `${short(texts("reducer")[row])}, ${column("rnn")[row].match(/^[a-z]+/)[0].toUpperCase()} input ${grouped(String(size))}`;
}

// A value in words; a bare number would not tell of what.
function worded(name, value) {
  if (name === "threads") return `${value} thread${Number(value) === 1 ? "" : "s"}`;
  return name === "head" ? `head ${value}` : short(value);
}

// Where a case was measured: always its backbone, variant, scenario and device, and what else differs between cases.
function placeOf(row) {
  const differing = ["rnn", "head", "clip", "threads", "environment"].filter((name) => data.filters.includes(name));
  const values = ["backbone", "variant", "scenario", "device", ...differing].map((name) => [name, column(name)[row]]).filter(([, value]) => value);
  return values.map(([name, value]) => worded(name, value)).join(" · ");
}

function summary(row) {
  return [element("b", {}, titleOf(row)), element("div", {}, placeOf(row)), ...lines(row).map((line) => element("div", {}, line))];
}

const findingsOf = (row) => (data.findings.of[row] || []).map((code) => data.findings.sentences[code]);

function closeButton() {
  const close = element("button", { type: "button", class: "close" }, "Close");
  close.addEventListener("click", unpin);
  return close;
}

function pin(row) {
  if (pinnedRow < 0) cameFrom = document.activeElement;
  pinnedRow = row;
  const close = closeButton();
  const known = [
    ...Object.entries(facts).map(([name, words]) => [words, column(name)[row]]),
    ...data.facts.map(({ words, key, text }) => [words, key ? measuredText(key, row) : once(`${words} fact`, text)[row]]),
  ].filter(([, value]) => value !== null);
  const list = element("dl", { class: "facts" }, ...known.map(([words, value]) =>
    element("div", {}, element("dt", {}, words), element("dd", {}, short(value)))));
  const notes = findingsOf(row).map(([level, text]) => element("p", {}, element("span", { class: `tag ${level === "warning" ? "warn" : ""}` }, level), ` ${text}`));
  pinned.replaceChildren(close, element("h3", {}, titleOf(row)), element("p", {}, placeOf(row)), ...lines(row).map((line) => element("div", {}, line)),
    element("div", {}, once("percentiles", data.percentiles)[row] ?? ""), distribution(row) ?? "", list, ...notes, element("p", {}, element("code", {}, commandOf(row))), copyButton(row), " ", linkButton(row));
  pinned.hidden = false;
  markPinned();
  close.focus({ preventScroll: true });
}

// A link may be to a case of another run, or to a case that was not measured in this run.
function tellMissing(id) {
  unpin();
  pinned.replaceChildren(closeButton(), element("h3", {}, "No such case here"), element("p", {}, `This page has no measured case ${id}. The link may be to another run; cases without a result are listed below the table.`));
  pinned.hidden = false;
}

function unpin() {
  pinned.hidden = true;
  if (pinnedRow < 0) return;
  pinnedRow = -1;
  markPinned();
  if (cameFrom && cameFrom.isConnected) cameFrom.focus({ preventScroll: true });
}

function markPinned() {
  for (const follow of followers) follow();
  for (const row of document.querySelectorAll("#table tbody tr")) row.classList.toggle("pinned", Number(row.dataset.row) === pinnedRow);
}

function copyButton(row) {
  const button = element("button", { type: "button", "aria-label": `Copy the command that measures ${titleOf(row)}, ${column("variant")[row]} again` }, "Copy");
  return copies(button, () => commandOf(row));
}

function linkButton(row) {
  const words = "Copy link", button = element("button", { type: "button" }, words);
  return copies(button, () => `${location.href.split("#")[0]}${linkOf(row)}`, words);
}

function copies(button, text, words = "Copy") {
  button.addEventListener("click", async (event) => {
    event.stopPropagation();
    button.textContent = (await copy(text())) ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = words; }, 1500);
  });
  return button;
}

// Pages opened from disk may lack the clipboard API: then copy through a selection.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", { "aria-hidden": "true", class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

document.addEventListener("keydown", (event) => { if (event.key === "Escape") unpin(); });
