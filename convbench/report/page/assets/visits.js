// The samples of a case by visit, as histograms on one scale: a row per fresh process, with its median marked.
const heights = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const rowsShown = 12;

function distribution(row) {
  const histograms = data.visits[row];
  if (!histograms) return null;
  const { ends: [low, high], visits } = histograms, step = 22, left = 24, width = 300, shown = visits.slice(0, rowsShown);
  const svg = element("svg", { viewBox: `0 0 370 ${shown.length * step + 20}`, role: "img", class: "visits" });
  const across = (value) => left + (Math.min(Math.max(value, low), high) - low) / (high - low) * width;
  const scale = axes.get("latency").scale, of = (value) => tickLabel(Number(value.toPrecision(3)), scale);
  shown.forEach(([count, median, bins, disturbed], i) => {
    const base = (i + 1) * step, bin = width / bins.length;
    const tops = [...bins].map((height) => tenth(base - heights.indexOf(height) / 35 * (step - 4)));
    const d = `M${left} ${base}${tops.map((top) => `V${top}h${tenth(bin)}`).join("")}V${base}`;
    svg.append(element("path", { class: disturbed ? "visit disturbed" : "visit", d }, title(`${count} samples, median ${of(median)}${disturbed ? `, disturbed: ${disturbed}` : ""}`)),
      element("path", { class: "median", d: `M${tenth(across(median))} ${base - step + 3}v${step - 3}` }),
      element("text", { class: "tick", x: left - 5, y: base - 4, "text-anchor": "end" }, String(i + 1)),
      element("text", { class: "tick", x: left + width + 6, y: base - 4 }, `n ${count}`));
  });
  svg.append(element("text", { class: "tick", x: left, y: shown.length * step + 15 }, of(low)),
    element("text", { class: "tick", x: left + width, y: shown.length * step + 15, "text-anchor": "end" }, of(high)));
  return described(svg, visits);
}

function described(svg, visits) {
  const spoilt = visits.filter(([, , , disturbed]) => disturbed).length, samples = visits.reduce((sum, [count]) => sum + count, 0);
  const parts = [`${samples} samples in ${visits.length} ${visits.length === 1 ? "visit" : "visits"}`];
  if (spoilt) parts.push(`${spoilt} disturbed (hollow), left out of the numbers here`);
  if (visits.length > rowsShown) parts.push(`the first ${rowsShown} shown`);
  const words = parts.join("; ");
  svg.setAttribute("aria-label", `Latency by visit: ${words}`);
  return element("div", {}, svg, element("p", { class: "quiet" }, `${words}. A row is a fresh process, its line the median.`));
}

const title = (text) => element("title", {}, text);
