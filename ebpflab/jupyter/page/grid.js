/* A table that stays calm while rows come. */

const LONG = 60; // characters: what is longer may not be seen whole, and is read when the mouse rests on it

function put(node, column, text) {
  write(node, text);
  if (text.length > LONG) mark(node, "title", text);
  else node.removeAttribute("title");
}

/* Rows of text below a head that stays. Rows are used again and columns only grow, so that nothing flickers; while
 * `still()` holds, new rows wait: what somebody reads, marks or edits does not move away. */
function grid(label, { sorted, still = () => false, cell = put, waiting = () => {} }) {
  const [head, body] = [h("tr"), h("tbody")];
  const node = h("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": label },
    h("table", {}, h("thead", {}, head), body));
  let [columns, widths, last, kept, pressed] = ["", [], "", null, false];

  const marked = () => {
    const selection = document.getSelection();
    return !!selection && !selection.isCollapsed && body.contains(selection.anchorNode);
  };

  function columnHead([name, kind], i) {
    const title = `${name}: ${kind}`;
    const press = sorted ? button(name, { class: "column", title }) : h("span", { title }, name);
    if (sorted) press.addEventListener("click", () => sorted(name, kind));
    return h("th", { scope: "col", class: MEASURED.has(kind) ? "number" : "text", "data-column": i }, press);
  }

  function fill({ columns: wanted, sort, descending }, rows) {
    if (JSON.stringify(wanted) !== columns) {
      columns = JSON.stringify(wanted);
      widths = wanted.map(([name]) => name.length + 2);
      head.replaceChildren(...wanted.map(columnHead), h("td", { class: "filler", "aria-hidden": "true" }));
      body.replaceChildren();
    }
    wanted.forEach(([name], i) => {
      const order = name === sort && sort ? (descending ? "descending" : "ascending") : "none";
      if (sorted) mark(head.children[i], "aria-sort", order);
    });
    const focused = body.contains(document.activeElement) && document.activeElement;
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach((cells, i) => fillRow(body.rows[i] || body.appendChild(row(wanted)), wanted, cells));
    widths.forEach((letters, i) => mark(head.children[i], "style", `min-width: ${letters}ch`));
    if (focused && !focused.isConnected) node.focus();
  }

  const row = wanted =>
    h("tr", {}, ...wanted.map(([, kind]) => h("td", { class: MEASURED.has(kind) ? "number" : "text" })),
      h("td", { class: "filler", "aria-hidden": "true" }));

  function fillRow(line, wanted, cells) {
    wanted.forEach((column, i) => {
      const text = cells[i] ?? "";
      widths[i] = Math.max(widths[i], Math.min(text.length, LONG));
      cell(line.cells[i], i, text, cells);
    });
  }

  function draw(meta, rows, question) {
    const asked = question !== last; // another question: the answer is wanted, and from its top
    last = question;
    kept = null;
    if (!asked && (still(node) || pressed || marked())) kept = [meta, rows, question];
    else fill(meta, rows);
    if (asked) node.scrollTop = 0;
    waiting(!!kept);
  }
  const settle = () => kept && draw(...kept);

  function listen(signal) {
    node.addEventListener("scroll", settle, { signal, passive: true });
    document.addEventListener("selectionchange", settle, { signal });
    body.addEventListener("pointerdown", () => (pressed = true), { signal });
    for (const end of ["pointerup", "pointercancel"]) {
      document.addEventListener(end, () => ((pressed = false), settle()), { signal });
    }
  }
  const newest = () => {
    if (marked()) document.getSelection().removeAllRanges();
    node.scrollTop = 0;
    settle();
  };
  return { node, body, draw, settle, newest, listen };
}
