/* The head: name, state and buttons, the curve of events a second, the numbers. */

function sparkline() {
  const [area, line, lost] = ["under", "curve", "lost"].map(name => h("path", { class: name }));
  const chart = h("svg", { class: "chart", role: "img" }, area, line, lost);
  const caption = h("span", { class: "caption" });
  const legend = h("span", { class: "caption legend", hidden: "" }, "\u25bc lost");
  const node = h("div", { class: "spark" }, caption, legend, chart);

  function draw({ n, step }, bytes) {
    const numbers = new Float32Array(bytes.slice().buffer); // a buffer of a message may begin anywhere
    const [rates, losses] = [numbers.subarray(0, n), numbers.subarray(n, 2 * n)];
    const { clientWidth: width, clientHeight: height } = chart;
    const peak = rates.reduce((a, b) => Math.max(a, b), 0);
    const slots = Math.max(n, Math.round(MINUTE / step)); // of a young session the left is empty: nothing is stretched
    const x = i => (((slots - n + i + 0.5) / slots) * width).toFixed(1);
    const y = rate => (height - 1 - (peak && rate / peak) * (height - 8)).toFixed(1);
    const points = Array.from(rates, (rate, i) => `${x(i)} ${y(rate)}`).join("L");
    const gaps = Array.from(losses, (loss, i) => (loss > 0 ? `M${x(i) - 3.5} 0h7l-3.5 6zM${x(i)} 6V${height}` : ""));
    mark(line, "d", n ? `M${points}` : "");
    mark(area, "d", n ? `M${x(0)} ${height}L${points}V${height}z` : "");
    mark(lost, "d", gaps.join(""));
    legend.toggleAttribute("hidden", !gaps.some(Boolean));
    const span = `events/s, last ${count(slots * step)} s, peak ${count(peak)}`;
    write(caption, span);
    const gap = gaps.filter(Boolean).length;
    mark(chart, "aria-label", `${span}${gap ? `, records lost during ${(gap * step).toFixed(1)} s` : ", none lost"}`);
  }
  return { node, draw };
}

function tileRow() {
  const node = h("dl", { class: "tiles" });
  function draw(tiles) {
    while (node.children.length > tiles.length) node.lastChild.remove();
    tiles.forEach(([key, label, value, tone, title], i) => {
      const tile = node.children[i] || node.appendChild(h("div", {}, h("dt"), h("dd")));
      mark(tile, "data-key", key);
      mark(tile, "title", title);
      write(tile.firstChild, label);
      write(tile.lastChild, value);
      mark(tile.lastChild, "class", `ebpflab-view-${tone || "plain"}`);
    });
  }
  return { node, draw };
}

function heading(send) {
  const [name, pill, about, problem] = ["name", "pill", "about", "problem"].map(each => h("span", { class: each }));
  pill.setAttribute("role", "status"); // that a session ended is said aloud, whoever ended it
  const titles = {
    pause: "Leave the buffers alone; what they refuse once they are full is counted as lost",
    clear: "Forget the rows that are held; the counters go on",
    save: "Write the events that are held to a Parquet file in the working directory",
    stop: "Detach the programs and close the session; its rows stay",
  };
  const buttons = Object.fromEntries(
    Object.entries(titles).map(([action, title]) => [action, button("", { class: "button", title, "data-do": action })])
  );
  const dress = (node, action) => {
    node.replaceChildren(icon(action), action[0].toUpperCase() + action.slice(1));
    node.dataset.do = action;
  };
  for (const [action, node] of Object.entries(buttons)) {
    dress(node, action);
    node.addEventListener("click", () => send({ do: node.dataset.do }));
  }
  const node = h("header", { class: "head" }, h("div", { class: "title" }, name, pill, about),
    h("div", { class: "buttons", role: "group", "aria-label": "session" }, ...Object.values(buttons)));

  function draw(head, over, gone) {
    write(name, head.name);
    write(pill, head.state);
    mark(pill, "class", `ebpflab-view-pill ebpflab-view-${head.tone}`);
    write(about, [head.engine, head.age].filter(Boolean).join(" \u00b7 "));
    write(problem, head.problem || "");
    const action = head.state === "paused" ? "resume" : "pause";
    if (buttons.pause.dataset.do !== action) dress(buttons.pause, action);
    const focused = node.contains(document.activeElement) && document.activeElement;
    for (const each of [buttons.pause, buttons.clear, buttons.stop]) each.disabled = over || gone;
    buttons.pause.disabled ||= !COMING.has(head.state);
    buttons.save.disabled = gone;
    if (focused && focused.disabled) buttons.save.focus(); // the keyboard must not fall off the view
  }
  return { node, problem, draw };
}
