// Start the page's interaction; without scripts the page lacks only choosing, zooming and sorting.
function setUpCharts() {
  for (const figure of document.querySelectorAll("figure.chart")) {
    const spec = JSON.parse(figure.dataset.spec);
    if (!Object.keys(spec.marks).length) continue;
    const chart = spec.axes ? new Chart(figure, spec) : null;
    new Pointer(figure, spec, chart);
    if (chart) control(figure, chart);
    else if (Object.keys(spec.scale).length) ruleFixed(figure, spec);
  }
}

function control(figure, chart) {
  const how = document.getElementById(`${figure.id}-how`), written = how.textContent;
  for (const select of figure.querySelectorAll("select[data-axis]")) select.addEventListener("change", () => {
    chart.axes[select.dataset.axis] = select.value;
    chart.zoomed = null;
    const { x, y } = chart.axes;
    figure.querySelector("figcaption").textContent = `${axes.get(y).words} against ${axes.get(x).words}`;
    how.textContent = written.replace(/(lower|upper) (left|right) is better, /i, corner(x, y)).replace(/^./, (letter) => letter.toUpperCase());
    chart.draw();
    keepLink();
  });
  charts.set(figure.id, chart);
  limitDrawers.push(() => chart.rule());
  for (const button of figure.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => chart.zoom(Number(button.dataset.zoom)));
  listeners.push(() => chart.draw());
  const redraw = later(() => { if (!chart.marks.canvas.hidden) chart.draw(); });
  new ResizeObserver(redraw).observe(chart.svg);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

// Commands are copied as shown; on a page opened from disk the run's directory replaces {RUN}.
function setUpCopies() {
  for (const button of document.querySelectorAll("button.copy")) {
    const code = button.previousElementSibling;
    const named = (text) => text.replace("{RUN}", () => directory("python" in code.dataset)); // a path may hold $&
    code.textContent = named(code.textContent);
    button.ariaLabel = named(button.ariaLabel);
    copies(button, () => code.textContent);
  }
}

// A table, or a figure without marks, is a tab stop only if it can be scrolled; this is measured after the first layout, never forcing one.
function setUpScrolls() {
  const fit = (box) => { box.tabIndex = box.scrollWidth > box.clientWidth + 1 ? 0 : -1; };
  const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => fit(target)));
  for (const box of document.querySelectorAll(".scroll, .plot[role=img]")) { box.tabIndex = -1; observer.observe(box); }
}

document.documentElement.classList.add("live");
if (isPlaced()) document.documentElement.classList.add("placed");
setUpScrolls();
setUpCopies();
if (document.getElementById("trade-offs")) {
  setUpFilters();
  setUpCharts();
  setUpTable();
  if (data.budget) setUpBudget();
  listeners.push(keepLink);
  followers.push(keepLink);
  readLink();
  addEventListener("hashchange", readLink);
}
for (const table of document.querySelectorAll("table.sortable")) setUpPlainTable(table);

// The first frame lays out the part in view; the part below follows in one step, and is ready a frame later.
const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
await frame();
document.documentElement.classList.add("whole");
if (!kept) drawTable();
await frame();
document.documentElement.dataset.ready = "true";
