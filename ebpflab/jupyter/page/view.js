/* The view: its tabs, its frames, and who looks at it. */

const PANELS = { table: tablePanel, plot: plotPanel, maps: mapsPanel, code: codePanel, log: logPanel };

function tabStrip(view, panels) {
  const tabs = TABS.map(name =>
    button(name[0].toUpperCase() + name.slice(1), {
      class: "tab", role: "tab", id: `${view.id}-tab-${name}`, "aria-controls": `${view.id}-${name}`, "data-tab": name,
    })
  );
  const node = h("div", { class: "tabs", role: "tablist", "aria-label": "what to look at" }, ...tabs);
  node.addEventListener("click", ({ target }) => target.dataset.tab && view.ask({ tab: target.dataset.tab }));
  node.addEventListener("keydown", event => {
    const at = tabs.indexOf(event.target);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const tab = tabs.at(to % tabs.length);
    tab.focus();
    view.ask({ tab: tab.dataset.tab });
  });
  function show(name) {
    for (const tab of tabs) {
      const chosen = tab.dataset.tab === name;
      mark(tab, "aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      panels[tab.dataset.tab].hidden = !chosen;
    }
  }
  return { node, show };
}

/* What is looked at belongs to all views of a session. What was asked here holds at once, until the kernel says so too:
 * a frame that was under way must not turn the page back. */
function looking(send) {
  const patience = 10_000; // milliseconds; then another view was asked for something else
  let [known, asked, when] = [{ tab: "table", rows: 20, filter: "", sort: "", plot: "rate" }, {}, 0];
  return {
    now: () => ({ ...known, ...asked }),
    ask(options) {
      Object.assign(asked, options);
      when = Date.now();
      send({ do: "look", ...options });
    },
    told(look) {
      known = look;
      const waits = ([name, value]) => look[name] !== value && Date.now() - when < patience;
      asked = Object.fromEntries(Object.entries(asked).filter(waits));
    },
    refused: () => (asked = {}),
  };
}

function liveView(model, signal) {
  const id = `ebpflab-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
  const state = { head: {}, tiles: [], choices: {}, fresh: new Map(), number: 0, seen: 0, told: 0, over: false, gone: false };
  let drawing = 0;

  function send(message) {
    try {
      model.send(message);
    } catch (error) {
      state.gone = true; // the kernel ended: a comm that is closed throws
      say("warning", `the kernel does not answer any more: ${error.message}`);
    }
    redraw();
  }
  const look = looking(send);
  const view = { id, signal, send, look: look.now, ask: look.ask, over: () => state.over, head: () => state.head };

  const note = h("p", { class: "note", role: "status", "aria-live": "polite" });
  const [head, spark, tiles] = [heading(send), sparkline(), tileRow()];
  const parts = Object.fromEntries(TABS.map(name => [name, PANELS[name](view)]));
  const panel = name =>
    h("div", { class: "panel", role: "tabpanel", id: `${id}-${name}`, "aria-labelledby": `${id}-tab-${name}` },
      ...parts[name].nodes);
  const panels = Object.fromEntries(TABS.map(name => [name, panel(name)]));
  const tabs = tabStrip(view, panels);
  const body = h("div", { class: "panels" }, ...Object.values(panels));
  const root = h("section", {}, head.node, head.problem, spark.node, tiles.node, tabs.node, body, note);
  root.className = "ebpflab-view";

  function say(tone, text) {
    note.className = `ebpflab-view-note ebpflab-view-${tone}`;
    note.textContent = text;
  }

  function receive(message, buffers) {
    if (message.kind === "frame") {
      Object.assign(state, { head: message.head, tiles: message.tiles, number: message.number });
      state.over ||= state.head.state === "closed"; // "over" comes after the last frame
      Object.assign(state.choices, message.choices);
      look.told(message.look);
      message.parts.forEach((part, i) => state.fresh.set(part.name, [part, bytesOf(buffers[i])]));
    } else if (message.kind === "note") {
      if (message.tone === "error") look.refused();
      parts.maps.answered();
      say(message.tone, message.text);
    } else if (message.kind === "over") {
      state.over = true;
    }
    redraw();
  }

  /* Once for each picture of the screen, and never in a tab that nobody sees: frames replace one another until then. */
  function redraw() {
    if (!drawing) drawing = requestAnimationFrame(draw);
  }

  function draw() {
    drawing = 0;
    const now = look.now();
    mark(root, "aria-label", `live view of ${state.head.name || "a session"}`);
    head.draw(state.head, state.over, state.gone);
    tiles.draw(state.tiles);
    tabs.show(now.tab);
    for (const [name, [meta, bytes]] of state.fresh) {
      if (name === "history") spark.draw(meta, bytes);
      else parts[PARTS[name]].draw(meta, bytes);
    }
    state.fresh.clear();
    parts[now.tab].refresh(now, state.choices);
    acknowledge();
  }

  /* One word for many frames: the kernel answers each with two messages of its own. */
  function acknowledge() {
    const now = performance.now();
    if (!present || state.seen === state.number || now - state.told < ACKNOWLEDGED) return;
    state.told = now;
    send({ do: "seen", number: (state.seen = state.number) });
  }

  // --- whether anybody looks, and at what: JupyterLab gives notebooks in the background no width

  let present = false;
  let ground = "";
  function presence() {
    const width = document.hidden ? 0 : body.clientWidth;
    if (present && !width) send({ do: "bye", view: id });
    if (!width) return void (present = false);
    const dark = isDark(root);
    root.classList.toggle("ebpflab-view-dark", dark);
    const options = { dark, width, scale: devicePixelRatio };
    const changed = ground !== (ground = JSON.stringify(options));
    if (!present) send({ do: "hello", view: id, ...options, lab: document.body.classList.contains("ebpflab-lab") });
    else if (changed) send({ do: "look", ...options });
    present = true;
  }
  const soon = whenQuiet(250, presence);
  const sizes = new ResizeObserver(() => (present && body.clientWidth ? soon() : presence()));
  const themes = new MutationObserver(soon);
  sizes.observe(body);
  const attributeFilter = ["class", "style", "data-jp-theme-name", "data-jp-theme-light"];
  for (const node of [document.documentElement, document.body]) themes.observe(node, { attributeFilter });
  document.addEventListener("visibilitychange", presence, { signal });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon, { signal });
  model.on("msg:custom", receive);
  // Plain keys are ours: in a notebook, the letter d and the arrows have meanings of their own.
  root.addEventListener("keydown", event => {
    const { key, ctrlKey, metaKey, altKey, shiftKey } = event;
    const theirs = ctrlKey || metaKey || altKey || key === "Escape" || (shiftKey && key === "Enter");
    if (!theirs) event.stopPropagation();
  });
  signal.addEventListener("abort", () => {
    model.off("msg:custom", receive);
    soon.cancel();
    sizes.disconnect();
    themes.disconnect();
    if (present && !state.gone) send({ do: "bye", view: id });
    cancelAnimationFrame(drawing);
  });
  draw();
  return root;
}

export default {
  render({ model, el, signal }) {
    const ending = new AbortController();
    const end = () => ending.abort();
    signal?.addEventListener("abort", end); // older front ends call what is returned instead
    el.append(liveView(model, ending.signal));
    return end;
  },
};
