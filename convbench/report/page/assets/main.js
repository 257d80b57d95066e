// Brings the page to life; without it everything but choosing, zooming and sorting is there already.
function setUpCharts() {
  for (const figure of document.querySelectorAll("figure.chart")) {
    const spec = JSON.parse(figure.dataset.spec);
    if (!Object.keys(spec.marks).length) continue;
    const chart = spec.axes ? new Chart(figure, spec) : null;
    new Pointer(figure, spec, chart);
    if (chart) control(figure, chart);
  }
}

function control(figure, chart) {
  for (const select of figure.querySelectorAll("select[data-axis]")) select.addEventListener("change", () => {
    chart.axes[select.dataset.axis] = select.value;
    chart.zoomed = null;
    const { x, y } = chart.axes, how = figure.querySelector(".how");
    figure.querySelector("figcaption").textContent = `${axes.get(y).words} against ${axes.get(x).words}`;
    how.textContent = how.textContent.replace(/(lower|upper) (left|right)(?= is better)/, corner(x, y));
    chart.draw();
  });
  for (const button of figure.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => chart.zoom(Number(button.dataset.zoom)));
  listeners.push(() => chart.draw());
  const redraw = later(() => { if (!chart.marks.canvas.hidden) chart.draw(); });
  new ResizeObserver(redraw).observe(chart.svg);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

document.documentElement.classList.add("live");
if (data.size) {
  setUpFilters();
  setUpCharts();
  setUpTable();
}
for (const table of document.querySelectorAll("table.sortable")) setUpPlainTable(table);
document.documentElement.dataset.ready = "true";
