const grouped = (text) => text.replace(/\B(?=(\d{3})+(?!\d))(?<!\.\d*)/g, ",");

// Log axes: the same limits, ticks and labels as report/drawing/scales.py.
function limits(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  if (low > high) return [1, 10];
  const room = Math.max(0.05 * (Math.log(high) - Math.log(low)), 0.2);
  return [Math.exp(Math.log(low) - room), Math.exp(Math.log(high) + room)];
}

function ticks(low, high, unit) {
  let places = [];
  if (unit === "B" || unit === "size") {
    const first = Math.ceil(Math.log2(low)), last = Math.floor(Math.log2(high));
    const step = Math.max(1, Math.ceil((last - first + 1) / 8));
    for (let power = Math.ceil(first / step) * step; power <= last; power += step) places.push(2 ** power);
  } else {
    const span = Math.log10(high / low);
    const mantissas = span < 0.9 ? [1, 1.5, 2, 3, 5, 7] : span < 2.7 ? [1, 2, 5] : [1];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      places.push(...mantissas.map((m) => m * 10 ** e));
    places = places.filter((value) => low <= value && value <= high);
  }
  if (places.length >= 2) return places;
  return evenTicks(low, high, unit);
}

function evenTicks(low, high, unit) {
  let step = 10 ** Math.floor(Math.log10((high - low) / 2));
  step *= [5, 2, 1].find((m) => (high - low) / (m * step) >= 3) || 1;
  if (unit === "B") step = 2 ** Math.floor(Math.log2((high - low) / 3));
  const places = [];
  for (let i = Math.ceil(low / step); i <= Math.floor(high / step); i++) places.push(i * step);
  return places;
}

// The steps of a scale are [factor, words]; a size has none.
function tickLabel(value, scale) {
  if (!scale.length) return grouped(value % 1 ? String(Number(value.toPrecision(6))) : String(value));
  const fitting = scale.filter(([factor]) => value >= factor * 0.9995);
  const [factor, name] = fitting.length ? fitting[fitting.length - 1] : scale[0];
  return `${Number((value / factor).toPrecision(4))} ${name}`.trimEnd();
}

// From values to places on one axis of a plot.
class Scale {
  constructor([low, high], from, to) {
    this.ends = [low, high];
    this.from = from;
    this.rate = (to - from) / (Math.log(high) - Math.log(low));
    this.base = Math.log(low);
  }
  place(value) { return this.from + (Math.log(value) - this.base) * this.rate; }
  value(place) { return Math.exp(this.base + (place - this.from) / this.rate); }
}
