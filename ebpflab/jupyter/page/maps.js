/* Entries of a map. A value is a field that is only read until a double click, Enter or F2; one has the tab stop. */
function mapsPanel(view) {
  const map = choice("map", value => view.ask({ map: value }));
  const remove = button("Delete entry", { class: "button" });
  const [status, problem] = [h("span", { class: "status" }), h("p", { class: "problem" })];
  let [meta, chosen, editing] = [{}, null, null];
  const table = grid("entries", { still: () => editing, cell: dress });
  const fields = () => [...table.body.querySelectorAll("input")];
  const drop = () => view.over() || view.send({ do: "delete", map: meta.map, key: chosen });

  function dress(node, column, text, [key]) {
    const fixed = !meta.editable || view.over() || meta.constants.includes(key);
    if (column !== meta.columns.length - 1 || fixed) return write(node, text);
    const field = node.firstElementChild || h("input", { class: "value", readonly: "", spellcheck: "false" });
    if (!field.parentNode) node.replaceChildren(field);
    Object.assign(field.dataset, { key, text });
    field.value = text;
    mark(field, "aria-label", `value of ${key}`);
  }
  /* The tab stop, and the keyboard with it, stay with the entry when others come before it. */
  function rove(focus) {
    const all = fields();
    const stop = all.find(field => field.dataset.key === chosen) || all[0];
    for (const field of all) field.tabIndex = field === stop ? 0 : -1;
    if (focus && stop) stop.focus();
    remove.disabled = !stop || chosen === null;
    write(remove, chosen === null ? "Delete entry" : `Delete ${chosen}`);
  }
  function edit(field) {
    if (view.over()) return;
    editing = field;
    field.readOnly = false;
    field.select();
  }
  function leave(save) {
    const field = editing;
    editing = null;
    field.readOnly = true;
    const { key, text } = field.dataset;
    if (save && field.value !== text) view.send({ do: "set", map: meta.map, key, value: field.value, shown: text });
    else field.value = text;
    table.settle();
  }
  /* What was typed stays until the kernel answers, and then gives way to what the map holds. */
  const answered = () => fields().forEach(field => field !== editing && (field.value = field.dataset.text));

  function onKey(event) {
    if (event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target;
    const all = fields();
    const go = to => to && ((chosen = to.dataset.key), rove(true));
    const at = all.indexOf(field);
    const reading = {
      Enter: () => edit(field), F2: () => edit(field), Delete: drop,
      ArrowUp: () => go(all[at - 1]), ArrowDown: () => go(all[at + 1]),
      Home: () => go(all[0]), End: () => go(all.at(-1)),
    };
    const action = (editing ? { Enter: () => leave(true), Escape: () => leave(false) } : reading)[event.key];
    if (!action || at < 0) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }
  function draw(next, bytes) {
    if (editing && next.map !== meta.map) leave(false); // another view chose another map
    meta = next;
    const focused = table.body.contains(document.activeElement);
    table.draw(meta, rowsOf(bytes), meta.map);
    if (!editing) rove(focused);
    write(problem, meta.problem || "");
    const size = meta.count === null ? "" : entriesOf(meta.count);
    const how = meta.editable && !view.over() ? "Enter or a double click edits a value" : "";
    write(status, [meta.type, size, how].filter(Boolean).join(" \u00b7 "));
  }
  table.body.addEventListener("keydown", onKey);
  table.body.addEventListener("dblclick", ({ target }) => target.matches("input:read-only") && edit(target));
  table.body.addEventListener("focusout", () => editing && leave(false));
  table.body.addEventListener("focusin", ({ target }) => ((chosen = target.dataset.key ?? chosen), rove()));
  remove.addEventListener("click", drop);
  table.listen(view.signal);
  const refresh = (look, { maps = [] }) => {
    map.show(same(maps), look.map || maps[0] || "");
    remove.toggleAttribute("hidden", !meta.editable || meta.map === "variables" || view.over());
  };
  const bar = h("div", { class: "bar" }, map.node, remove, status);
  return { nodes: [bar, problem, table.node], draw, refresh, answered };
}
