// Tables whose rows are all in the page: sorted by their cells with missing values always last, searched by their text, exported as shown.
function setUpPlainTable(table) {
  const body = table.tBodies[0], rows = [...body.rows];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v === "" ? Infinity : Number(cell.dataset.v);
  };
  for (const [column, head] of [...table.tHead.rows[0].cells].entries())
    head.firstElementChild.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const keyed = rows.map((row) => [key(row, column), row]);
      body.append(...keyed.sort(([a], [b]) => (a === Infinity) - (b === Infinity) || (a < b ? -sign : a > b ? sign : 0)).map(([, row]) => row));
    });
  const search = document.querySelector(`[data-search="${table.id}"]`);
  const count = document.querySelector(`[data-count="${table.id}"]`), words = count.textContent;
  search.addEventListener("input", () => {
    const searchWords = wordsOf(search.value);
    for (const row of rows) row.hidden = !hasAll(row.textContent, searchWords);
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = searchWords.length ? `${grouped(String(shown))} of ${grouped(String(rows.length))} found` : words;
  });
  const cells = (row) => [...row.cells].map((cell) => cell.textContent.trim().replace(/\s+/g, " "));
  const heads = [...table.tHead.rows[0].cells];
  for (const button of document.querySelectorAll(`[data-export][data-of="${table.id}"]`)) button.addEventListener("click", () => {
    const kind = button.dataset.export, shown = [...body.rows].filter((row) => !row.hidden).map(cells);
    download(kind, makers[kind]([heads.map((head) => head.textContent.trim()), ...shown], heads.map((head) => head.classList.contains("n"))), "-shown");
  });
  document.querySelector(`[data-all="${table.id}"]`)?.addEventListener("click", () => download("csv", asCsv([data[table.id].names, ...data[table.id].lines])));
}
