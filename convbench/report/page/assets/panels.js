// Facets: one panel per variant, side by side on the same scales, if the reader looks at all variants at once.
const mostPanels = 6;

function variantsShown() {
  if (chosen.variant !== "" || !data.filters.includes("variant")) return [null];
  const names = [...new Set(scope.map((row) => column("variant")[row]))];
  const plainFirst = names.sort((a, b) => (b === "eager") - (a === "eager") || (a < b ? -1 : 1));
  return names.length > 1 && names.length <= mostPanels ? plainFirst : [null];
}

// The box split into a panel per name, with room for the name above each and for ticks between rows.
function panelsOf(box, names, ends) {
  const across = names.length === 1 ? 1 : names.length <= 4 ? 2 : 3, down = Math.ceil(names.length / across);
  const [gap, head, foot] = names.length === 1 ? [0, 0, 0] : [12, 14, 12];
  const width = (box.width - gap * (across - 1)) / across, height = (box.height - foot * (down - 1)) / down;
  return names.map((name, i) => {
    const at = { x: box.x + (i % across) * (width + gap), y: box.y + Math.floor(i / across) * (height + foot) + head, width, height: height - head };
    const last = i + across >= names.length;
    return { name, box: at, left: i % across === 0, last, x: new Scale(ends.x, at.x, at.x + at.width), y: new Scale(ends.y, at.y + at.height, at.y) };
  });
}

const within = ({ box }, { x, y }, room = 1) =>
  x >= box.x - room && x <= box.x + box.width + room && y >= box.y - room && y <= box.y + box.height + room;

// At most four ticks on a small axis: every second, third or fourth.
function thinned(values, few) {
  return few ? values.filter((_, i) => i % Math.ceil(values.length / 4) === 0) : values;
}

function clipOf(id, { x, y, width, height }) {
  return element("clipPath", { id }, element("rect", { x, y, width, height }));
}
