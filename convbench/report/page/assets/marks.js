// Marks as bitmaps, for charts with too many marks for an SVG to redraw without delay; never on paper.
const many = 1500;
const behind = 4; // a bar this short is hidden behind its mark
let printing = false;
addEventListener("beforeprint", () => { printing = true; listeners.forEach((listener) => listener()); });
addEventListener("afterprint", () => { printing = false; listeners.forEach((listener) => listener()); });

class Marks {
  constructor(svg) {
    this.svg = svg;
    this.canvas = element("canvas", { class: "bitmap", "aria-hidden": "true" });
    this.canvas.hidden = true;
    this.layers = new Map();
    svg.after(this.canvas);
  }

  wanted(places) {
    this.canvas.hidden = printing || places.length <= many;
    return !this.canvas.hidden;
  }

  // One layer per reducer, kept while the view stays: hiding one reducer does not redraw the others.
  draw(places, box, view, bar) {
    const frame = this.svg.getBoundingClientRect(), rate = (frame.width / this.svg.viewBox.baseVal.width) * devicePixelRatio;
    this.canvas.width = Math.round(frame.width * devicePixelRatio);
    this.canvas.height = Math.round(frame.height * devicePixelRatio);
    Object.assign(this.canvas.style, { left: `${frame.left - this.svg.parentNode.getBoundingClientRect().left}px`, width: `${frame.width}px`, height: `${frame.height}px` });
    const bySeries = new Map(), pen = this.canvas.getContext("2d", software), seen = JSON.stringify([view, rate, colour("--paper")]);
    if (this.seen !== seen || this.scope !== scope) this.layers.clear();
    Object.assign(this, { seen, scope });
    for (const place of places) push(bySeries, data.of[place.row], place);
    pen.beginPath();
    pen.rect(box.x * rate, box.y * rate, box.width * rate, box.height * rate);
    pen.clip();
    for (const [series, members] of bySeries) {
      if (!this.layers.has(series)) this.layers.set(series, this.layer(data.series[series], members, rate, bar));
      pen.drawImage(this.layers.get(series), 0, 0);
    }
  }

  layer(look, places, rate, bar) {
    const { width, height } = this.canvas, made = element("canvas", { width, height });
    const pen = made.getContext("2d", software), variants = column("variant");
    const hollow = sprite(look, "--paper", rate), filled = sprite(look, `--s${look.hue}`, rate);
    pen.globalAlpha = 0.6;
    pen.fillStyle = colour(`--s${look.hue}`);
    for (const ends of places.map(bar))
      if (ends && ends.width + ends.height > behind) pen.fillRect(ends.x * rate, ends.y * rate, Math.max(ends.width * rate, 1), Math.max(ends.height * rate, 1));
    pen.globalAlpha = 1;
    for (const { row, x, y } of places) {
      const image = variants[row] === "eager" ? hollow : filled;
      pen.drawImage(image, Math.round(x * rate - image.width / 2), Math.round(y * rate - image.height / 2));
    }
    return made;
  }
}

const software = { willReadFrequently: true };
const styles = getComputedStyle(document.documentElement);
const colour = (name) => styles.getPropertyValue(name);
function sprite(look, fill, rate) {
  const side = Math.ceil(12 * rate), made = element("canvas", { width: side, height: side }), pen = made.getContext("2d", software);
  const shape = new Path2D(look.shape);
  pen.translate(side / 2, side / 2);
  pen.scale(rate, rate);
  pen.fillStyle = colour(fill);
  pen.strokeStyle = colour(`--s${look.hue}`);
  pen.lineWidth = 1.1;
  pen.fill(shape);
  pen.stroke(shape);
  return made;
}
