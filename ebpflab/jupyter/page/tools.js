/* The live view of a session, in any front end that knows anywidget: nothing is built, what is read here is what runs.
 *
 * The kernel sends frames, a few a second: the numbers as JSON, and what the chosen tab shows as a buffer for each
 * part. The page answers what it looks at ("look"), what it drew ("seen") and what was pressed; `view.py` is the other
 * end. What events carry is hostile: it reaches the page as text, never as markup.
 *
 * The files of this folder are joined to one module, in the order that `view.py` gives.
 */

const TABS = ["table", "plot", "maps", "code", "log"];
const PARTS = { rows: "table", picture: "plot", entries: "maps", code: "code", log: "log" };
const USES = {
  rate: "by", hist: "column by", top: "column", heatmap: "column",
  timeline: "column by", flame: "column", verdicts: "column by",
};
const MINUTE = 60; // seconds that the curve shows
const ACKNOWLEDGED = 2000; // milliseconds from one word about what was drawn to the next
const AWAY = 1000; // milliseconds out of sight after which nothing is sent any more
const COMING = new Set(["attached", "replaying", "paused"]); // states in which events may come
const MEASURED = new Set(["number", "duration"]);
const ICONS = {
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  resume: "M4 2.5v11l9-5.5z",
  stop: "M3.5 3.5h9v9h-9z",
  clear: "M3 4.2 4.2 3 8 6.8 11.8 3 13 4.2 9.2 8l3.8 3.8-1.2 1.2L8 9.2 4.2 13 3 11.8 6.8 8z",
  save: "M7 2h2v5h2.5L8 10.8 4.5 7H7zM3 12h10v1.6H3z",
};

/* An element below our own prefix: `h("div", {class: "head"})` is div.ebpflab-view-head. */
function h(tag, { class: names, ...attributes } = {}, ...children) {
  const vector = tag === "svg" || tag === "path";
  const node = vector ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  if (names) node.setAttribute("class", names.split(" ").map(name => `ebpflab-view-${name}`).join(" "));
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/* Writing what is there already would end a selection and cost a layout. */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

const icon = name =>
  h("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, h("path", { d: ICONS[name] }));
const button = (text, more) => h("button", { type: "button", ...more }, text);
const count = number => Math.round(number).toLocaleString("en-US");
const bytesOf = given => // front ends hand over views or buffers
  ArrayBuffer.isView(given) ? new Uint8Array(given.buffer, given.byteOffset, given.byteLength) : new Uint8Array(given);

/* Rows of cells, as every listing travels; no bytes are no rows. */
function rowsOf(bytes) {
  const text = new TextDecoder().decode(bytes);
  return text ? text.split("\x1e").map(row => row.split("\x1f")) : [];
}

const entriesOf = number => `${count(number)} ${number === 1 ? "entry" : "entries"}`;

/* Calls once it is quiet for so many milliseconds. */
function whenQuiet(milliseconds, action) {
  let timer = 0;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

/* A labelled choice. Its options are made anew only when they differ: that would close an open list. */
function choice(label, changed) {
  const select = h("select");
  const node = h("label", { class: "choice" }, h("span", {}, label), select);
  let known = "";
  select.addEventListener("change", () => changed(select.value));
  const show = (options, value, enabled = true) => {
    const wanted = JSON.stringify(options);
    if (wanted !== known) {
      select.replaceChildren(...options.map(([name, text]) => h("option", { value: name }, text)));
      known = wanted;
    }
    if (select.value !== value) select.value = value;
    select.disabled = !enabled || !options.length;
  };
  return { node, show, select };
}

const same = names => (names || []).map(name => [name, name]);

/* Whether the ground is dark, whatever theme, editor or page it comes from and however the colour is written. */
function isDark(node) {
  const pen = h("canvas", { width: 1, height: 1 }).getContext("2d");
  pen.fillStyle = getComputedStyle(node).backgroundColor;
  pen.fillRect(0, 0, 1, 1);
  const [red, green, blue] = pen.getImageData(0, 0, 1, 1).data;
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 128;
}
