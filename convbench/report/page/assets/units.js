// Base units as people read them: the same text as report/units.py writes.
const missing = "–";
const scales = {
  s: [[1e-9, "ns"], [1e-6, "µs"], [1e-3, "ms"], [1, "s"], [60, "min"], [3600, "h"]],
  B: [[1, "B"], [2 ** 10, "KiB"], [2 ** 20, "MiB"], [2 ** 30, "GiB"], [2 ** 40, "TiB"]],
  1: [[1, ""], [1e3, "k"], [1e6, "M"], [1e9, "G"], [1e12, "T"], [1e15, "P"]],
};
scales.FLOP = scales[1].map(([factor, prefix]) => [factor, `${prefix}FLOP`]);

function digits(value, significant = 3) {
  if (value === 0) return "0";
  const rounded = Number(value.toPrecision(significant));
  const decimals = Math.max(0, significant - 1 - Math.floor(Math.log10(Math.abs(rounded))));
  return grouped(rounded.toFixed(decimals));
}

const grouped = (text) => text.replace(/\B(?=(\d{3})+(?!\d))(?<!\.\d*)/g, ",");

function scaleFor(value, unit) {
  const fitting = scales[unit].filter(([factor]) => Math.abs(value) >= factor * 0.9995);
  return fitting.length ? fitting[fitting.length - 1] : scales[unit][0];
}

function human(value, unit) {
  if (value === null || value === undefined) return missing;
  if (unit === "1" && value < 1000 && value % 1) return digits(value);
  const [factor, name] = scaleFor(value, unit);
  return `${factor === 1 && Number.isInteger(value) ? grouped(String(value)) : digits(value / factor)} ${name}`.trimEnd();
}

const times = (value) =>
  value === null ? missing : `${value < 2 ? digits(value, 3) : value < 10 ? digits(value, 2) : grouped(value.toFixed(0))}×`;

function bounds(middle, low, high) {
  if (middle === null) return missing;
  if (low === null || high === null) return "too few samples";
  const [factor] = scaleFor(middle, "s");
  return `${digits(low / factor)}, ${digits(high / factor)}`;
}
