// Pointing, pinning and zooming, by mouse, touch and keyboard; the same for every chart that has marks.
const tip = document.getElementById("tip");

class Pointer {
  constructor(figure, spec, chart) {
    this.plot = figure.querySelector(".plot");
    this.svg = this.plot.querySelector("svg");
    this.chart = chart;
    this.fixed = chart ? null : placesIn(this.svg, spec.marks);
    this.cursor = element("circle", { class: "cursor", r: 6.5, visibility: "hidden" });
    this.pinned = element("circle", { class: "cursor pinned", r: 8, visibility: "hidden" });
    this.svg.append(this.cursor, this.pinned);
    followers.push(() => this.follow());
    if (chart) chart.drawn = () => this.follow();
    this.listen();
  }

  places() {
    return this.chart ? this.chart.places.filter((place) => this.chart.inside(place)) : this.fixed.filter((place) => isShown(place.row));
  }

  listen() {
    const { plot } = this;
    plot.addEventListener("pointermove", (event) => this.move(event));
    plot.addEventListener("pointerleave", () => this.leave());
    plot.addEventListener("pointerdown", (event) => this.press(event));
    plot.addEventListener("pointerup", (event) => this.release(event));
    plot.addEventListener("keydown", (event) => this.key(event));
    plot.addEventListener("blur", () => this.leave());
    if (!this.chart) return;
    plot.addEventListener("dblclick", () => this.chart.zoom(0));
    plot.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.chart.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.point(event));
    }, { passive: false });
  }

  point(event) {
    const frame = this.svg.getBoundingClientRect(), view = this.svg.viewBox.baseVal;
    return { x: ((event.clientX - frame.left) * view.width) / frame.width, y: ((event.clientY - frame.top) * view.height) / frame.height };
  }

  nearest(event) {
    const point = this.point(event);
    let best = null, least = 14 ** 2;
    for (const place of this.places()) {
      const distance = (place.x - point.x) ** 2 + (place.y - point.y) ** 2;
      if (distance < least) { least = distance; best = place; }
    }
    return best;
  }

  move(event) {
    if (this.start && event.buttons) return this.drag(event);
    this.frame?.remove(); // the button was released outside
    this.start = this.frame = null;
    const place = this.nearest(event);
    if (place) this.show(place); else this.leave();
  }

  press(event) {
    if (this.chart && event.pointerType === "mouse" && event.button === 0) this.start = this.point(event);
  }

  drag(event) {
    const { x, y } = this.point(event), { start } = this;
    if (!this.frame && Math.hypot(x - start.x, y - start.y) < 6) return;
    if (!this.frame) {
      this.frame = element("rect", { class: "drag" });
      this.svg.append(this.frame);
      this.plot.setPointerCapture(event.pointerId);
      this.leave();
    }
    const box = { x: Math.min(x, start.x), y: Math.min(y, start.y), width: Math.abs(x - start.x), height: Math.abs(y - start.y) };
    for (const [name, value] of Object.entries(box)) this.frame.setAttribute(name, value);
  }

  release(event) {
    const { start, frame, chart } = this;
    this.start = this.frame = null;
    if (!frame) {
      const place = this.nearest(event);
      return place ? pin(place.row) : undefined;
    }
    frame.remove();
    const end = this.point(event);
    if (Math.abs(end.x - start.x) < 6 || Math.abs(end.y - start.y) < 6) return undefined;
    const panel = chart.panelAt(start);
    chart.zoomed = {
      x: [start.x, end.x].sort((a, b) => a - b).map((place) => panel.x.value(place)),
      y: [start.y, end.y].sort((a, b) => b - a).map((place) => panel.y.value(place)),
    };
    return chart.draw();
  }

  key(event) {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }, zooms = { "+": 0.6, "=": 0.6, "-": 1.7, 0: 0 };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) this.step(steps[event.key]);
    else if (event.key === "Enter" && this.current) pin(this.current.row);
    else if (event.key === "Escape") { unpin(); this.leave(); }
    else if (event.key in zooms && this.chart) this.chart.zoom(zooms[event.key], this.current);
    else return;
    event.preventDefault();
  }

  step(by) {
    const places = this.places().sort((a, b) => a.x - b.x || a.y - b.y);
    if (!places.length) return;
    const at = this.current ? places.findIndex((place) => place.row === this.current.row) : by > 0 ? -1 : 0;
    this.show(places[(at + by + places.length) % places.length]);
  }

  show(place) {
    this.current = place;
    this.cursor.setAttribute("cx", place.x);
    this.cursor.setAttribute("cy", place.y);
    this.cursor.setAttribute("visibility", "visible");
    this.svg.append(this.cursor);
    tip.replaceChildren(...summary(place.row));
    tip.hidden = false;
    const frame = this.svg.getBoundingClientRect(), rate = frame.width / this.svg.viewBox.baseVal.width;
    const x = frame.left + place.x * rate, y = frame.top + place.y * rate, half = tip.offsetWidth / 2;
    const left = Math.min(Math.max(x - half, 8), document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = y - tip.offsetHeight - 14;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${(above > 4 ? above : y + 16) + window.scrollY}px`;
  }

  // A ring around the pinned case, wherever it is now.
  follow() {
    const place = this.places().find(({ row }) => row === pinnedRow);
    this.pinned.setAttribute("visibility", place ? "visible" : "hidden");
    if (!place) return;
    this.pinned.setAttribute("cx", place.x);
    this.pinned.setAttribute("cy", place.y);
    this.svg.append(this.pinned);
  }

  leave() {
    this.current = null;
    tip.hidden = true;
    this.cursor.setAttribute("visibility", "hidden");
  }
}

// The places of the marks in a matplotlib drawing, with their rows.
function placesIn(svg, marks) {
  return Object.entries(marks).flatMap(([part, rows]) => {
    const points = svg.querySelector(`[data-part="${CSS.escape(part)}"]`)?.getAttribute("points");
    return points ? points.split(" ").map((point, i) => ({ row: rows[i], x: Number(point.split(",")[0]), y: Number(point.split(",")[1]) })) : [];
  });
}
