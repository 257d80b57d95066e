// Exports: the table as shown, as CSV, Markdown or LaTeX; and every case with every column, in base units.
const makers = { csv: asCsv, md: asMarkdown, tex: asLatex };
const types = { csv: "text/csv", md: "text/markdown", tex: "application/x-tex", json: "application/json" };

function setUpExports() {
  for (const button of document.querySelectorAll("[data-export]")) button.addEventListener("click", () => {
    const kind = button.dataset.export, heads = headsOf(), cells = ordered().filter(isShown).map((row) => heads.map(({ key }) => texts(key)[row]));
    download(kind, makers[kind]([heads.map(({ words }) => words), ...cells], heads.map(({ numeric }) => numeric)), "-shown");
  });
  document.getElementById("csv").addEventListener("click", () => download("csv", asCsv([names(), ...records().map(Object.values)])));
  document.getElementById("json").addEventListener("click", () => download("json", JSON.stringify(records(), null, 1)));
}

const headsOf = () => [...document.querySelectorAll("#table thead th[data-key]")].map((head) =>
  ({ key: head.dataset.key, words: head.textContent.trim(), numeric: head.classList.contains("n") }));
const names = () => ["case", ...Object.keys(data.columns)];
const records = () => Array.from({ length: data.size }, (_, row) => Object.fromEntries(names().map((name) => [name, name === "case" ? idOf(row) : column(name)[row]])));

// A cell that a spreadsheet would run as a formula gets an apostrophe in front.
function field(value) {
  if (value === null) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function asCsv(lines) {
  return lines.map((line) => line.map(field).join(",")).join("\n") + "\n";
}

function asMarkdown([heads, ...lines], numeric) {
  const cell = (text) => String(text).replace(/[\r\n]+/g, " ").replace(/[\\|`*_[\]<>]/g, "\\$&");
  const rows = [heads.map(cell), numeric.map((right) => (right ? "--:" : ":--")), ...lines.map((line) => line.map(cell))];
  return rows.map((row) => `| ${row.join(" | ")} |`).join("\n") + "\n";
}

// A tabular of the booktabs package.
function asLatex([heads, ...lines], numeric) {
  const row = (cells) => `${cells.map(escaped).join(" & ")} \\\\`;
  return [`% \\usepackage{booktabs}`, `\\begin{tabular}{${numeric.map((right) => (right ? "r" : "l")).join("")}}`, "\\toprule", row(heads), "\\midrule",
    ...lines.map(row), "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

const special = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "×": "$\\times$", "µ": "$\\mu$", "≥": "$\\geq$", "·": "$\\cdot$", "<": "$<$", ">": "$>$", "–": "--", "\n": " " };
const escaped = (text) => String(text).replace(/[\\~^×µ≥·<>–\n]|[&%$#_{}]/g, (letter) => special[letter] ?? `\\${letter}`);

function download(extension, text, more = "") {
  const stem = data.name.replace(/[^\w-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "run";
  const mark = extension === "csv" && more ? "\uFEFF" : ""; // without it Excel reads "304 Âµs"; base units have no such letters
  const link = element("a", { download: `${stem}${more}.${extension}`, href: URL.createObjectURL(new Blob([mark, text], { type: types[extension] })) });
  document.body.append(link);
  link.click();
  setTimeout(() => { URL.revokeObjectURL(link.href); link.remove(); }, 1000);
}
