/* What the tabs show, but for the maps. */

function tablePanel(view) {
  const problem = h("p", { class: "problem", role: "alert", id: `${view.id}-problem` });
  const filter = h("input", {
    type: "search", spellcheck: "false", autocomplete: "off", maxlength: 300,
    "aria-label": "filter rows", "aria-describedby": problem.id,
    title: "Words that all have to match: bash, comm:bash, pid=123, latency>1ms, !word",
  });
  const stream = choice("stream", value => view.ask({ stream: value, sort: "" }));
  const amount = choice("rows", value => (table.newest(), view.ask({ rows: Number(value) })));
  const [status, empty] = [h("span", { class: "status" }), h("p", { class: "empty", hidden: "" })];
  const back = button("Show newest", { class: "button", hidden: "" });
  const sorted = (name, kind) => {
    const first = kind !== "text"; // large numbers and late times matter, words are looked up
    const { sort, descending } = view.look();
    if (name !== sort) view.ask({ sort: name, descending: first });
    else view.ask(descending === first ? { descending: !first } : { sort: "", descending: true });
  };
  const waiting = held => {
    if (!held && document.activeElement === back) table.node.focus();
    back.toggleAttribute("hidden", !held);
  };
  // What is not displayed says that it is not scrolled, wherever somebody reads in it.
  const table = grid("rows", { sorted, waiting, still: node => !node.clientHeight || node.scrollTop > 0 });
  let typed = false; // and not sent yet
  const sendNow = () => {
    if (typed) view.ask({ filter: filter.value });
    typed = false;
  };
  const sendFilter = whenQuiet(200, sendNow);
  filter.addEventListener("input", () => ((typed = true), sendFilter()));
  filter.addEventListener("change", sendNow);
  back.addEventListener("click", table.newest);
  view.signal.addEventListener("abort", sendFilter.cancel);
  table.listen(view.signal);

  function draw(meta, bytes) {
    table.draw(meta, rowsOf(bytes), JSON.stringify([meta.stream, meta.sort, meta.descending, meta.filter]));
    write(problem, meta.problem || "");
    filter.setAttribute("aria-invalid", String(!!meta.problem));
    write(status, tableStatus(meta));
    write(empty, meta.shown ? "" : nothing(meta, view));
    empty.toggleAttribute("hidden", !!meta.shown);
  }
  function refresh(look, choices) {
    const streams = choices.streams || [];
    stream.show(same(streams), look.stream || streams[0] || "");
    stream.node.toggleAttribute("hidden", streams.length < 2);
    const steps = [...new Set([20, 50, 100, 200, look.rows])].sort((a, b) => a - b);
    amount.show(steps.map(rows => [String(rows), String(rows)]), String(look.rows));
    const theirs = !typed && document.activeElement !== filter;
    if (theirs && filter.value !== look.filter) filter.value = look.filter;
    const ofKind = wanted => (choices.columns || []).find(([, kind]) => kind === wanted);
    const example = ofKind("duration") || ofKind("number");
    filter.placeholder = ["word", "!word", example && `${example[0]}>${example[1] === "duration" ? "1ms" : "100"}`]
      .filter(Boolean).join("  ");
  }
  const bar = h("div", { class: "bar" }, h("label", { class: "choice grow" }, h("span", {}, "filter"), filter),
    stream.node, amount.node, h("span", { class: "push" }, back), status);
  return { nodes: [bar, problem, h("div", { class: "stack" }, table.node, empty)], draw, refresh };
}

function tableStatus({ shown, matched, held, looked, sort, descending, filter, problem }) {
  if (problem && filter) return `not filtered: ${count(shown)} of ${count(held)} held`;
  const of = filter ? `${count(matched)} that match, of ` : "";
  const among = looked < held && (sort || filter) ? `the newest ${count(looked)} of ` : "";
  const order = descending ? "descending" : "ascending";
  if (sort) return `${count(shown)} of ${of}${among}${count(held)} held, by ${sort}, ${order}`;
  return `newest ${count(shown)} of ${of}${among}${count(held)} held`;
}

/* What to do about an empty table. */
function nothing({ held, looked, stream }, view) {
  if (held) return `None of the newest ${count(looked)} rows matches the filter: take a word away, or clear it.`;
  if (!stream) return "This session has no stream of events: look at its maps and variables.";
  if (view.over()) return "The session ended without events.";
  if (view.head().state === "paused") return "No events yet: press Resume, what the buffer holds will appear here.";
  if (view.head().state === "loaded") return "No events yet: the programs are loaded, and not attached.";
  return "No events yet: rows appear here as soon as a program sends one.";
}

function plotPanel(view) {
  const ask = name => choice(name, value => view.ask({ [name]: value }));
  const [plot, column, by] = ["plot", "column", "by"].map(ask);
  const problem = h("p", { class: "problem" });
  const frame = h("div", { class: "picture" });
  let [shown, turn] = ["", 0];
  const drop = url => url && URL.revokeObjectURL(url);
  view.signal.addEventListener("abort", () => drop(shown));

  async function draw({ width, height, alt, problem: said }, bytes) {
    const mine = ++turn;
    write(problem, said || "");
    if (!bytes.length) return;
    const url = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    const next = h("img", { src: url, width, height, alt });
    try {
      await next.decode(); // drawn before it is put into its place: nothing flickers
    } catch {
      if (mine === turn) write(problem, "the picture could not be read");
    }
    if (mine !== turn || view.signal.aborted || !next.naturalWidth) return drop(url);
    frame.replaceChildren(next);
    drop(shown);
    shown = url;
  }
  function refresh(look, choices) {
    const used = USES[look.plot] || "";
    const measured = look.plot === "hist" || look.plot === "heatmap";
    const all = choices.columns || [];
    const fitting = measured ? all.filter(([, kind]) => MEASURED.has(kind)) : all;
    const options = (columns, none) => [["", none], ...same(columns.map(([name]) => name))];
    plot.show(same(choices.plots), look.plot);
    column.show(options(fitting, "auto"), look.column, used.includes("column"));
    by.show(options(all, "none"), look.by, used.includes("by"));
  }
  return { nodes: [h("div", { class: "bar" }, plot.node, column.node, by.node), problem, frame], draw, refresh };
}

function codePanel(view) {
  const program = choice("program", value => view.ask({ program: value }));
  const problem = h("p", { class: "problem" });
  const list = h("ol", { class: "code", tabindex: 0, "aria-label": "source and instructions" });
  const status = h("span", { class: "status" });
  const open = new Set();
  let shown = "";

  function line([number, source, insns, text], name, most) {
    const key = `${name} ${number} ${source}`;
    const size = Number(insns);
    const bar = h("span", { class: "cost", "aria-hidden": "true" });
    bar.style.setProperty("--ebpflab-part", size / most);
    const cells = [h("span", { class: "line" }, number), h("code", { title: source }, source || " "),
      h("span", { class: "insns", title: `${count(size)} instructions` }, size ? count(size) : ""), bar];
    if (!text) return h("li", {}, h("div", { class: "source" }, ...cells));
    const press = button("", { class: "source", "aria-expanded": String(open.has(key)) });
    const below = h("pre", { hidden: "" }, text);
    press.append(...cells);
    below.hidden = !open.has(key);
    press.addEventListener("click", () => {
      below.hidden = !below.hidden;
      press.setAttribute("aria-expanded", String(!below.hidden));
      if (below.hidden) open.delete(key);
      else open.add(key);
    });
    return h("li", {}, press, below);
  }
  function draw(meta, bytes) {
    const rows = rowsOf(bytes);
    const sizes = rows.map(row => Number(row[2]));
    const most = Math.max(1, ...sizes);
    const lines = sizes.filter(Boolean).length;
    const at = list.scrollTop;
    write(status, lines ? `${count(sizes.reduce((a, b) => a + b))} instructions of ${count(lines)} lines` : "");
    write(problem, [meta.problem, meta.cut && "the listing is cut: disasm() has the whole"].filter(Boolean).join("; "));
    list.replaceChildren(...rows.map(row => line(row, meta.program, most)));
    const first = list.querySelector("button");
    // Types come first in a cell, and are rarely what somebody wants to see here.
    list.scrollTop = shown === meta.program || !first ? at : first.offsetTop - list.offsetTop - 40;
    shown = meta.program;
  }
  const refresh = (look, { programs = [] }) => program.show(same(programs), look.program || programs[0] || "");
  return { nodes: [h("div", { class: "bar" }, program.node, status), problem, list], draw, refresh };
}

function logPanel() {
  const list = h("ol", { class: "log", tabindex: 0, "aria-label": "what happened to the session" });
  function draw(meta, bytes) {
    const below = list.scrollHeight - list.scrollTop - list.clientHeight < 24; // who reads at the end goes on there
    const rows = rowsOf(bytes);
    while (list.children.length > rows.length) list.lastChild.remove();
    rows.forEach(([time, tone, text], i) => {
      const item = list.children[i] || list.appendChild(h("li", {}, h("time"), h("span")));
      write(item.firstChild, time);
      write(item.lastChild, text);
      mark(item.lastChild, "class", `ebpflab-view-${tone || "plain"}`);
    });
    if (below) list.scrollTop = list.scrollHeight;
  }
  return { nodes: [list], draw, refresh: () => {} };
}
