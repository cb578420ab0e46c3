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
  const state = { head: {}, tiles: [], choices: {}, fresh: new Map(), number: 0, seen: 0, over: false, gone: false };
  let [drawing, present, failed] = [0, false, ""];

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

  /* Once for each picture of the screen, and only where somebody sees it: frames replace one another until then. What
   * is not displayed has no size, and does not know how far it was scrolled. */
  function redraw() {
    if (!drawing) drawing = requestAnimationFrame(draw);
  }

  function draw() {
    drawing = 0;
    if (!present) return;
    show();
    acknowledge();
  }

  function show() {
    const now = look.now();
    mark(root, "aria-label", `live view of ${state.head.name || "a session"}`);
    head.draw(state.head, state.over, state.gone);
    tiles.draw(state.tiles);
    tabs.show(now.tab);
    const fresh = [...state.fresh];
    state.fresh.clear(); // first: what cannot be drawn is not tried again
    for (const [name, [meta, bytes]] of fresh) {
      const part = name === "history" ? spark : parts[PARTS[name]];
      guarded(name, () => part.draw(meta, bytes));
    }
    guarded(now.tab, () => parts[now.tab].refresh(now, state.choices));
  }

  /* One that fails leaves the others, and is told once. */
  function guarded(name, action) {
    try {
      action();
    } catch (error) {
      const told = `${name} cannot be shown: ${error.message}`;
      if (failed !== told) say("error", (failed = told));
    }
  }

  /* One word for many frames, the last of them included: the kernel answers each with two messages of its own. */
  let [told, waking] = [-ACKNOWLEDGED, 0];
  function acknowledge() {
    if (!present || state.gone || state.seen === state.number) return;
    const now = performance.now();
    clearTimeout(waking);
    if (now - told < ACKNOWLEDGED) return void (waking = setTimeout(acknowledge, ACKNOWLEDGED - now + told));
    told = now;
    send({ do: "seen", number: (state.seen = state.number) });
  }

  // --- whether anybody looks, and at what: JupyterLab gives notebooks in the background no width

  let [greeted, met, inSight, ground] = [false, false, false, ""];
  // The first hello says what kind of page this is, so it does not wait until the view is scrolled to.
  const visible = () => (document.hidden || (met && !inSight) ? 0 : body.clientWidth);
  function bye() {
    if (greeted && !state.gone) send({ do: "bye", view: id });
    greeted = false;
  }
  const leave = whenQuiet(AWAY, bye); // who scrolls past, or looks at another notebook for a moment, stays
  function presence() {
    const width = visible();
    present = !!width;
    if (!present) return leave();
    leave.cancel();
    const dark = isDark(root);
    root.classList.toggle("ebpflab-view-dark", dark);
    const options = { dark, width, scale: devicePixelRatio };
    const changed = ground !== (ground = JSON.stringify(options));
    if (!greeted) send({ do: "hello", view: id, ...options, lab: document.body.classList.contains("ebpflab-live") });
    else if (changed) send({ do: "look", ...options });
    if (!met) soon();
    greeted = met = true;
    redraw();
  }
  const soon = whenQuiet(250, presence);
  const sizes = new ResizeObserver(() => (present && visible() ? soon() : presence()));
  // Of the page, and of what scrolls in it (a name of its own, which old browsers pass over).
  const sight = new IntersectionObserver(entries => {
    inSight = entries.at(-1).isIntersecting;
    presence();
  }, { rootMargin: "200px", scrollMargin: "200px" });
  sight.observe(root);
  const themes = new MutationObserver(soon);
  sizes.observe(body);
  const attributeFilter = ["class", "style", "data-jp-theme-name", "data-jp-theme-light"];
  for (const node of [document.documentElement, document.body]) themes.observe(node, { attributeFilter });
  document.addEventListener("visibilitychange", presence, { signal });
  addEventListener("pagehide", bye, { signal });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon, { signal });
  model.on("msg:custom", receive);
  // Plain keys are ours: in a notebook, the letter d and the arrows have meanings of their own. So is every Enter in a
  // field: with Shift or Ctrl it would run the cell once more.
  root.addEventListener("keydown", event => {
    const { key, ctrlKey, metaKey, altKey, shiftKey } = event;
    const typed = key === "Enter" && event.target.matches("input, select");
    const theirs = key === "Escape" || (!typed && (ctrlKey || metaKey || altKey || (shiftKey && key === "Enter")));
    if (!theirs) event.stopPropagation();
  });
  signal.addEventListener("abort", () => {
    model.off("msg:custom", receive);
    soon.cancel();
    leave.cancel();
    clearTimeout(waking);
    sight.disconnect();
    sizes.disconnect();
    themes.disconnect();
    bye();
    cancelAnimationFrame(drawing);
  });
  show();
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
