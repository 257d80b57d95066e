// Marks as bitmaps, for charts with more of them than an SVG can redraw while a reader waits; never on paper.
const many = 1500;
const hidden = 4; // a bar as short as this is behind its mark
let printing = false;
addEventListener("beforeprint", () => { printing = true; listeners.forEach((listener) => listener()); });
addEventListener("afterprint", () => { printing = false; listeners.forEach((listener) => listener()); });

class Marks {
  constructor(svg) {
    this.svg = svg;
    this.canvas = element("canvas", { class: "bitmap", "aria-hidden": "true" });
    this.canvas.hidden = true;
    svg.after(this.canvas);
  }

  wanted(places) {
    this.canvas.hidden = printing || places.length <= many;
    return !this.canvas.hidden;
  }

  // Bars and marks of these places, clipped to the box of the plot (both in units of the SVG).
  draw(places, box, bar) {
    const frame = this.svg.getBoundingClientRect(), rate = (frame.width / this.svg.viewBox.baseVal.width) * devicePixelRatio;
    this.canvas.width = Math.round(frame.width * devicePixelRatio);
    this.canvas.height = Math.round(frame.height * devicePixelRatio);
    Object.assign(this.canvas.style, { left: `${frame.left - this.svg.parentNode.getBoundingClientRect().left}px`, width: `${frame.width}px`, height: `${frame.height}px` });
    const pen = this.canvas.getContext("2d", software), variants = column("variant"), looks = spritesAt(rate);
    pen.beginPath();
    pen.rect(box.x * rate, box.y * rate, box.width * rate, box.height * rate);
    pen.clip();
    pen.globalAlpha = 0.6;
    for (const place of places) {
      const ends = bar(place);
      if (!ends || ends.width + ends.height < hidden) continue;
      pen.fillStyle = looks[data.of[place.row]].bar;
      pen.fillRect(ends.x * rate, ends.y * rate, Math.max(ends.width * rate, 1), Math.max(ends.height * rate, 1));
    }
    pen.globalAlpha = 1;
    const drawn = new Set(); // a mark within a pixel of one that looks the same would not be seen
    for (const { row, x, y } of places) {
      const look = data.of[row], hollow = variants[row] === "eager", image = hollow ? looks[look].hollow : looks[look].filled;
      const left = Math.round(x * rate - image.width / 2), top = Math.round(y * rate - image.height / 2);
      const key = ((look * 2 + hollow) * 8192 + (left >> 1)) * 8192 + (top >> 1);
      if (drawn.has(key)) continue;
      drawn.add(key);
      pen.drawImage(image, left, top);
    }
  }
}

const software = { willReadFrequently: true };
const styles = getComputedStyle(document.documentElement);
const colour = (name) => styles.getPropertyValue(name);
let sprites = { key: "" };

// What each reducer looks like at this size, in the colours of now.
function spritesAt(rate) {
  const key = `${rate} ${colour("--paper")}`;
  if (sprites.key !== key) {
    const looks = data.series.map((look) => ({ bar: colour(`--s${look.hue}`), hollow: sprite(look, "--paper", rate), filled: sprite(look, `--s${look.hue}`, rate) }));
    sprites = { key, looks };
  }
  return sprites.looks;
}

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
