// Whether a log axis can show a value: the same rule as in Python.
const isDrawable = (value) => value > 1e-100 && value < 1e100;
// Whether the interval of a latency is bounded and a log axis can show it.
const hasBar = (row) => column("latency_s_low")[row] > 0 && column("latency_s_high")[row] !== null;

// An interactive chart: matplotlib's drawing until something changes, then the same chart redrawn here with the reader's choices.
class Chart {
  constructor(figure, spec) {
    this.figure = figure;
    this.svg = figure.querySelector(".plot > svg");
    this.axes = { x: spec.axes.x, y: spec.axes.y };
    this.first = { ...this.axes };
    this.zoomed = null;
    this.drawn = () => {};
    this.box = boxOf(this.svg);
    this.clip = `url(#${this.svg.querySelector("clipPath").id})`;
    this.limits = element("g", { class: "limits" });
    this.svg.append(this.limits);
    this.marks = new Marks(this.svg);
    this.measure();
  }

  // The scales and the places of all rows in view; rows off the plot have no place.
  measure() {
    const xs = valuesOf(this.axes.x), ys = valuesOf(this.axes.y);
    const rows = scope.filter((row) => isDrawable(xs[row]) && isDrawable(ys[row]));
    this.ends = { x: this.widen(this.endsOf("x", rows, xs)), y: this.endsOf("y", rows, ys) };
    this.panels = panelsOf(this.box, variantsShown(), this.zoomed || this.ends);
    const variants = column("variant"), of = new Map(this.panels.map((panel) => [panel.name, panel]));
    this.places = rows.filter(isShown).map((row) => {
      const panel = of.get(variants[row]) ?? this.panels[0];
      return { row, panel, x: panel.x.place(xs[row]), y: panel.y.place(ys[row]) };
    });
  }

  // The ends of an axis that holds all marks and, on an axis of latencies, their intervals.
  endsOf(axis, rows, values) {
    const bars = this.axes[axis] === "latency" ? rows.filter(hasBar) : [];
    return limits([values, column("latency_s_low"), column("latency_s_high")].flatMap((own, i) => (i ? bars : rows).map((row) => own[row])));
  }

  panelAt(point) {
    return this.panels.find((panel) => within(panel, point, 8)) ?? this.panels[0];
  }

  widen([low, high]) {
    const opened = ["backbone", "rnn", "clip", "scenario"].every((name) => (chosen[name] ?? "") === (data.opening[name] ?? ""));
    const size = this.axes.x === "lstm_input" && opened ? data.crossover : null;
    this.crossover = size && low < size && size < 4 * high ? size : null;
    return [low, this.crossover ? Math.max(high, 1.5 * size) : high];
  }

  inside(place) {
    return within(place.panel, place);
  }

  draw() {
    this.measure();
    const layer = element("g", { class: "layer" });
    for (const panel of this.panels) this.drawAxes(layer, panel);
    this.drawHeadings(layer);
    const bitmap = this.marks.wanted(this.places);
    const plot = element("g", { "clip-path": this.clip });
    if (bitmap) this.marks.draw(this.places.filter((place) => this.inside(place)), this.box, [this.axes, this.panels.map(({ name, x, y }) => [name, x.ends, y.ends])], (place) => this.bar(place));
    this.drawCurves(plot, layer);
    if (!bitmap) this.drawMarks(plot);
    this.drawFronts(plot);
    for (const panel of this.panels) this.drawCrossover(plot, layer, panel);
    layer.append(plot);
    if (this.layer) this.layer.replaceWith(layer);
    else {
      for (const part of this.svg.querySelectorAll("[data-part]")) part.remove();
      this.svg.insertBefore(layer, this.svg.querySelector(":scope > defs"));
    }
    this.layer = layer;
    this.rule();
    this.drawn();
  }

  rule() {
    this.limits.replaceChildren(...this.panels.flatMap(({ box, x, y }) => limitLines(box, this.axes, { x: (value) => x.place(value), y: (value) => y.place(value) })));
    const picked = this.places.filter(({ row }) => (budget.latency || budget.memory) && budget.rows.includes(row));
    this.limits.append(...picked.map(({ x, y }) => element("circle", { class: "taken", cx: tenth(x), cy: tenth(y), r: 9 })));
  }

  drawAxes(layer, panel) {
    const { x, y, width, height } = panel.box, few = this.panels.length > 1;
    for (const value of thinned(ticks(...panel.x.ends, axes.get(this.axes.x).unit), few)) {
      const at = tenth(panel.x.place(value));
      layer.append(element("path", { class: "gridline", d: `M${at} ${y}v${height}` }));
      if (panel.last) layer.append(element("text", { class: "tick", x: at, y: y + height + 12.6, "text-anchor": "middle" }, tickLabel(value, axes.get(this.axes.x).scale)));
    }
    for (const value of thinned(ticks(...panel.y.ends, axes.get(this.axes.y).unit), few)) {
      const at = panel.y.place(value);
      layer.append(element("path", { class: "gridline", d: `M${x} ${tenth(at)}h${width}` }));
      if (panel.left) layer.append(element("text", { class: "tick", x: x - 5, y: tenth(at + 3.8), "text-anchor": "end" }, tickLabel(value, axes.get(this.axes.y).scale)));
    }
    if (few) layer.append(element("text", { class: "tick panel", x, y: y - 4 }, short(panel.name)));
  }

  drawHeadings(layer) {
    const { x, y, width, height } = this.box;
    layer.append(element("text", { class: "tick", x: x + width / 2, y: y + height + 26.6, "text-anchor": "middle" }, heading(this.axes.x)));
    layer.append(element("text", { class: "tick", x: x - 0.12 * width, y: y - 8.8 }, heading(this.axes.y)));
  }

  // One path per reducer and panel for its curves, clipped to the panel.
  drawCurves(plot, layer) {
    if (this.axes.x !== "lstm_input") return;
    const curves = column("curve");
    for (const [number, panel] of this.panels.entries()) {
      const bySeries = new Map(), clip = this.panels.length > 1 ? `${this.figure.id}-panel${number}` : null;
      for (const place of this.places) {
        if (curves[place.row] === null || place.panel !== panel) continue;
        const series = data.of[place.row];
        if (!bySeries.has(series)) bySeries.set(series, new Map());
        push(bySeries.get(series), curves[place.row], place);
      }
      if (clip) layer.append(clipOf(clip, panel.box));
      const group = clip ? element("g", { "clip-path": `url(#${clip})` }) : plot;
      for (const [series, pieces] of bySeries)
        group.append(element("path", { class: `curve h${data.series[series].hue}`, d: [...pieces.values()].map(joined).join("") }));
      if (clip) plot.append(group);
    }
  }

  // One path per reducer for its bars, one polyline per reducer and fill with a marker at every vertex.
  drawMarks(plot) {
    const bySeries = new Map(), variants = column("variant");
    for (const place of this.places) {
      if (!this.inside(place)) continue;
      const series = data.of[place.row];
      if (!bySeries.has(series)) bySeries.set(series, { hollow: [], filled: [], bars: [] });
      const parts = bySeries.get(series), ends = this.bar(place);
      parts[variants[place.row] === "eager" ? "hollow" : "filled"].push(`${tenth(place.x)},${tenth(place.y)}`);
      if (ends) parts.bars.push(`M${tenth(ends.x)} ${tenth(ends.y)}${ends.width ? `h${tenth(ends.width)}` : `v${tenth(ends.height)}`}`);
    }
    for (const [series, parts] of bySeries) plot.append(element("path", { class: `bars h${data.series[series].hue}`, d: parts.bars.join("") }));
    for (const [series, parts] of bySeries)
      for (const fill of ["hollow", "filled"])
        if (parts[fill].length)
          plot.append(element("polyline", { class: "marks", "data-series": series, points: parts[fill].join(" "), style: `marker:url(#${fill}${series})` }));
  }

  // The bar over the interval of the latency, if latency is on an axis and the interval is bounded.
  bar({ row, panel, x, y }) {
    if (!hasBar(row)) return null;
    const low = column("latency_s_low")[row], high = column("latency_s_high")[row];
    if (this.axes.y === "latency") return { x, y: panel.y.place(high), width: 0, height: panel.y.place(low) - panel.y.place(high) };
    return this.axes.x === "latency" ? { x: panel.x.place(low), y, width: panel.x.place(high) - panel.x.place(low), height: 0 } : null;
  }

  // The front of every comparable group in view, over two costs; never across groups.
  drawFronts(plot) {
    const [across, up] = [this.axes.x, this.axes.y].map((axis) => sign[axes.get(axis).better]);
    if (!across || !up) return;
    const groups = new Map();
    for (const place of this.places) push(groups, data.group[place.row], place);
    const fronts = [...groups.values()].map((places) => front(places, valuesOf(this.axes.x), valuesOf(this.axes.y), across, up));
    this.front = fronts.flat().map((place) => place.row);
    plot.append(element("path", { class: "front", d: fronts.map(stairs).join("") }));
    const rings = fronts.flat().filter((place) => this.inside(place)).map((place) => `${tenth(place.x)},${tenth(place.y)}`);
    plot.append(element("polyline", { class: "marks", points: rings.join(" "), style: "marker:url(#ring)" }));
  }

  drawCrossover(plot, layer, panel) {
    if (!this.crossover) return;
    const at = panel.x.place(this.crossover), { x, y, width, height } = panel.box;
    plot.append(element("path", { class: "crossover", d: `M${tenth(at)} ${y}v${height}` }));
    if (at <= x || at >= x + width) return;
    const left = at > x + width / 2, size = grouped(this.crossover.toFixed(0));
    const said = this.panels.length > 1 ? `${data.cell} = conv at ${size}` : `${data.cell} = conv FLOPs at D = ${size}`;
    layer.append(element("text", { class: "crossover-label", x: tenth(at + (left ? -4 : 4)), y: y + 8.8, "text-anchor": left ? "end" : "start" }, said));
  }

  // Zoom about a place of a panel, all panels alike; factor 0 shows everything again.
  zoom(factor, at) {
    const panel = at ? this.panelAt(at) : this.panels[0], { box } = panel;
    const center = at || { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    this.zoomed = factor === 0 ? null : {
      x: [center.x + (box.x - center.x) * factor, center.x + (box.x + box.width - center.x) * factor].map((place) => panel.x.value(place)),
      y: [center.y + (box.y + box.height - center.y) * factor, center.y + (box.y - center.y) * factor].map((place) => panel.y.value(place)),
    };
    this.draw();
  }
}

const tenth = (value) => Math.round(value * 10) / 10;
const sign = { lower: 1, higher: -1, neither: 0 };
function heading(axis) {
  const { words, better } = axes.get(axis);
  return better === "neither" ? words : `${words} · ${better} is better`;
}

// "lower left is better, ": the corner where both metrics are best; empty if one of them has no better direction.
function corner(x, y) {
  if (![x, y].every((axis) => sign[axes.get(axis).better])) return "";
  return `${axes.get(y).better === "higher" ? "upper" : "lower"} ${axes.get(x).better === "higher" ? "right" : "left"} is better, `;
}

const push = (map, key, value) => (map.has(key) ? map.get(key).push(value) : map.set(key, [value]));
const joined = (places) => `M${places.sort((a, b) => a.x - b.x || b.y - a.y).map((p) => `${tenth(p.x)} ${tenth(p.y)}`).join("L")}`;

// The Pareto front: places that no other place dominates, the best in x first; equal places all stay.
// A sign of -1 is for a metric of which higher is better.
function front(places, xs, ys, across, up) {
  const ordered = [...places].sort((a, b) => across * (xs[a.row] - xs[b.row]) || up * (ys[a.row] - ys[b.row]));
  const kept = [];
  for (const place of ordered) {
    const last = kept[kept.length - 1];
    if (!last || up * ys[place.row] < up * ys[last.row] || (ys[place.row] === ys[last.row] && xs[place.row] === xs[last.row])) kept.push(place);
  }
  return kept;
}

function stairs(places) {
  return places.map(({ x, y }, i) => (i ? `H${tenth(x)}V${tenth(y)}` : `M${tenth(x)} ${tenth(y)}`)).join("");
}
