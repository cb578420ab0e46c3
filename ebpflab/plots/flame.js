// Zoom, search and keys of a flame graph. No less-than sign and no ampersand, so that it reads the same as XML (a saved
// file) and as HTML (a notebook's output). Boxes know their place as data-x and data-w, parts of the whole width.
(() => {
const svg = document.currentScript.closest("svg"), NS = "http://www.w3.org/2000/svg";
const EDGE = Number(svg.dataset.edge), FULL = Number(svg.dataset.full), LETTER = Number(svg.dataset.letter);
const stage = svg.querySelector(".boxes"), note = svg.querySelector(".note");
const all = Array.from(stage.children, g => ({ g, rect: g.querySelector("rect"), text: g.querySelector("text"),
  name: g.dataset.name, row: Number(g.dataset.row), x: Number(g.dataset.x), w: Number(g.dataset.w) }));
stage.classList.add("live");
let wanted = "", at = all[0];
const inside = (a, b) => a.x >= b.x - 1e-9 ? b.x + b.w + 1e-9 >= a.x + a.w : false;
const shown = b => b.g.style.display !== "none";

function zoom(to) {
  for (const b of all) {
    const under = to.row > b.row ? inside(to, b) : false;
    const seen = under ? true : b.row >= to.row ? inside(b, to) : false;
    b.g.style.display = seen ? "" : "none";
    b.g.classList.toggle("under", under);
    if (!seen) continue;
    const width = under ? FULL : b.w / to.w * FULL, x = under ? EDGE : EDGE + (b.x - to.x) / to.w * FULL;
    b.rect.setAttribute("x", x);
    b.rect.setAttribute("width", Math.max(width - .5, .2));
    b.text.setAttribute("x", x + 3);
    const room = Math.floor((width - 6) / LETTER);
    b.text.textContent = room >= b.name.length ? b.name : room > 2 ? b.name.slice(0, room - 1) + "\u2026" : "";
  }
  reset.style.display = to === all[0] ? "none" : "";
  if (!shown(at)) stop(to);
}

function search() {
  let end = -1, sum = 0, count = 0;
  let test = () => false;
  if (wanted) try { const r = new RegExp(wanted, "i"); test = n => r.test(n); }
    catch { const low = wanted.toLowerCase(); test = n => n.toLowerCase().includes(low); }
  const hits = all.filter(b => { const hit = test(b.name); b.g.classList.toggle("hit", hit); return hit; });
  hits.sort((a, b) => a.x - b.x || b.w - a.w);
  for (const b of hits) { count += 1; if (b.x + 1e-9 >= end) { sum += b.w; end = b.x + b.w; } }
  const found = count + (count === 1 ? " box, " : " boxes, ") + (100 * sum).toFixed(1) + " % of all";
  note.textContent = wanted ? found : "";
}

// One box is a stop of the tab key; the others are reached from it.
function stop(b) {
  at.g.setAttribute("tabindex", -1);
  at = b;
  at.g.setAttribute("tabindex", 0);
}
function go(b) {
  if (!b) return;
  stop(b);
  b.g.focus();
}
function beside(b, step) {
  const row = all.filter(c => c.row === b.row ? shown(c) : false);
  return row[row.indexOf(b) + step];
}
const keys = {
  Enter: zoom,
  " ": zoom,
  Escape: b => { zoom(all[0]); go(b); },
  ArrowDown: b => go(all.find(c => c.row === b.row + 1 ? shown(c) ? inside(c, b) : false : false)),
  ArrowUp: b => go(all.find(c => c.row === b.row - 1 ? inside(b, c) : false)),
  ArrowLeft: b => go(beside(b, -1)),
  ArrowRight: b => go(beside(b, 1)),
  Home: () => go(all.find(shown)),
};

function button(label, x, act) {
  const made = document.createElementNS(NS, "text");
  made.setAttribute("class", "about small button");
  made.setAttribute("x", x); made.setAttribute("y", 42);
  made.setAttribute("tabindex", 0); made.setAttribute("role", "button");
  made.textContent = label;
  made.addEventListener("click", act);
  made.addEventListener("keydown", e => { if (e.key === "Enter" || e.key === " ") { own(e); act(); } });
  svg.append(made);
  return made;
}
// A notebook would take the keys for its own.
function own(e) { e.stopPropagation(); e.preventDefault(); }

const reset = button("show all", 760, () => { zoom(all[0]); go(at); });
const holder = document.createElementNS(NS, "foreignObject");
for (const [k, v] of [["x", 910], ["y", 6], ["width", 280], ["height", 24]]) holder.setAttribute(k, v);
const field = document.createElementNS("http://www.w3.org/1999/xhtml", "input");
field.type = "search"; field.placeholder = "search functions (regular expression)";
field.setAttribute("aria-label", "search functions");
field.addEventListener("input", () => { wanted = field.value; search(); });
for (const kind of ["keydown", "keyup", "keypress"]) field.addEventListener(kind, e => e.stopPropagation());
holder.append(field);
svg.append(holder);
for (const b of all) {
  b.g.setAttribute("tabindex", b === at ? 0 : -1);
  b.g.addEventListener("click", () => { stop(b); zoom(b); });
  b.g.addEventListener("keydown", e => {
    const act = e.ctrlKey || e.metaKey || e.altKey ? null : keys[e.key];
    if (act) { own(e); act(b); }
  });
}
zoom(all[0]);
})();
