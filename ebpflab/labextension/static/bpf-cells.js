/* C in `%%bpf` cells of JupyterLab 4 and Notebook 7: colours, indentation, comments, folding. */

// ---------------------------------------------------------------- words

// Not `typeName` and `macroName`: the theme of JupyterLab has no colour for these before 4.7.
const TYPE = "variableName.standard";
const MACRO = "variableName.special";

const words = text => new Set(text.split(" "));
const KEYWORDS = words(
  "auto break case const continue default do else enum extern for goto if inline register restrict return sizeof" +
    " static struct switch typedef typeof union volatile while _Alignof _Static_assert __typeof__"
);
const TYPES = words(
  "bool char double float int long short signed unsigned void _Bool __int128" +
    " u8 u16 u32 u64 s8 s16 s32 s64 __u8 __u16 __u32 __u64 __s8 __s16 __s32 __s64" +
    " __be16 __be32 __be64 __le16 __le32 __le64 __sum16 __wsum"
);
const ATOMS = words("NULL true false");
const TAGS = words("struct union enum");
// What takes a statement after its parentheses: the last four are macros of libbpf.
const CONTROL = words("if for while switch bpf_for bpf_for_each bpf_repeat bpf_for_each_map_elem_loop");

// ---------------------------------------------------------------- tokens

/* What the tokenizer remembers from one line to the next. CodeMirror copies it (arrays one level deep), so
 * the entries of `open` are never changed. */
const startState = () => ({
  magic: true, // the line with %%bpf is still to come
  comment: false,
  include: false, // the next <...> is a file
  last: "", // the last token that is neither space nor comment
  open: [], // brackets: {bracket, column of what follows it or null, control}
  waiting: 0, // statements that `if (...)`, `else` and the like wait for
  directive: "", // the last token of the preprocessor's line that this is
  branches: [], // {last, open, waiting} as they were at each #if that no #endif has ended
});

function token(stream, state) {
  const style = styled(stream, state);
  if (stream.eol() && !stream.string.endsWith("\\")) state.directive = "";
  return style;
}

const blankLine = state => void (state.directive = "");

function styled(stream, state) {
  if (stream.sol()) state.include = false;
  if (stream.eatSpace()) return null;
  if (state.magic) {
    state.magic = false;
    stream.skipToEnd();
    return "meta";
  }
  if (state.comment || stream.match("/*")) {
    state.comment = !stream.match(/^.*?\*\//);
    if (state.comment) stream.skipToEnd();
    return "comment";
  }
  if (stream.match("//")) {
    stream.skipToEnd();
    return "comment";
  }
  const first = !stream.string.slice(0, stream.pos).trim();
  if (state.directive || (first && stream.match("#", false))) return directive(stream, state);
  const before = state.last;
  const style = significant(stream, state, before);
  state.last = stream.current();
  return style;
}

/* A directive has colours but is no statement: a macro may well open a brace that another one closes. */
function directive(stream, state) {
  const open = /^#|^$/.test(state.directive) ? [] : [{}]; // what follows #define is defined, the rest is used
  const apart = { ...state, open };
  const style = significant(stream, apart, state.directive);
  if (!state.directive) branch(stream.current().replace(/\s/g, ""), state);
  state.include = apart.include;
  state.directive = stream.current();
  return style;
}

/* Only one branch of an #if is compiled: each begins with what was open at the #if. */
function branch(name, state) {
  const { branches, last, open, waiting } = state;
  if (/^#if/.test(name)) branches.push({ last, open: open.slice(), waiting });
  if (/^#endif/.test(name)) branches.pop();
  if (!/^#el/.test(name) || !branches.length) return;
  const at = branches[branches.length - 1];
  Object.assign(state, { ...at, open: at.open.slice() });
}

function significant(stream, state, before) {
  if (stream.match(/^#\s*\w+/)) {
    state.include = /include/.test(stream.current());
    return "meta";
  }
  if (state.include && stream.match(/^<[^>]*>?/)) return "string";
  if (stream.match(/^[LuU]?"(?:[^"\\]|\\.)*["\\]?/) || stream.match(/^'(?:[^'\\]|\\.)*'?/)) return "string";
  if (stream.match(/^(?:0[xX][\da-fA-F]+|0[bB][01]+|\d+\.?\d*(?:[eE][+-]?\d+)?)[uUlLfF]*/)) return "number";
  if (stream.match(/^[A-Za-z_]\w*/)) return word(stream, state, before);
  if (stream.match("->") || stream.match(/^\.(?!\d)/)) return "derefOperator";
  if (stream.match(/^(?:\+\+|--|[-+*/%&|^~!<>=?]+)/)) return "operator";
  return bracket(stream, state, before);
}

function word(stream, state, before) {
  const name = stream.current();
  if (name === "if" && before === "else") state.waiting -= 1; // `else if` is one
  if (name === "else" || name === "do") state.waiting += 1;
  if (before === "->" || before === ".") return "propertyName";
  if (KEYWORDS.has(name)) return "keyword";
  if (ATOMS.has(name)) return "atom";
  if (TYPES.has(name) || TAGS.has(before) || /_t$/.test(name)) return TYPE;
  if (/^(?:[A-Z][A-Z\d_]+|__\w+)$/.test(name)) return MACRO;
  if (!stream.match(/^\s*\(/, false)) return "variableName";
  if (/^bpf_/.test(name)) return TYPE;
  return state.open.length ? "variableName" : "variableName.definition";
}

const STYLES = { "(": "paren", "[": "squareBracket", "{": "brace", ";": "separator", ",": "separator" };
const OPENING = { ")": "(", "]": "[", "}": "{" };

function bracket(stream, state, before) {
  const char = stream.next();
  if (char === "{" || char === "(" || char === "[") {
    const alone = stream.match(/^\s*(?:$|\/[/*])/, false);
    const column = alone ? null : stream.column() + 1;
    state.open.push({ bracket: char, column, control: char === "(" && CONTROL.has(before) });
  } else if (char in OPENING) {
    close(state, char);
  }
  const inside = state.open.length && state.open[state.open.length - 1].bracket === "("; // for (;;)
  if (char === "{" || char === "}" || (char === ";" && !inside)) state.waiting = 0;
  return STYLES[OPENING[char] || char] || null;
}

/* A closing bracket that fits none counts for nothing; a brace ends what is still open in its block. */
function close(state, char) {
  const brackets = state.open.map(({ bracket }) => bracket);
  const at = char === "}" ? brackets.lastIndexOf("{") : brackets.length - 1;
  if (at < 0 || brackets[at] !== OPENING[char]) return;
  const [{ control }] = state.open.splice(at);
  if (control && char === ")") state.waiting += 1;
}

// ---------------------------------------------------------------- indentation

/* The kernel's style: one step for each brace, `case` below `switch`, arguments under the first of them. */
function indent(state, textAfter, context) {
  if (state.comment || state.directive) return null; // the lines of a macro stay as they are
  if (/^#/.test(textAfter)) return 0;
  const braces = state.open.filter(({ bracket }) => bracket === "{").length;
  const top = state.open[state.open.length - 1];
  if (top && top.bracket !== "{") {
    if (/^[)\]]/.test(textAfter)) return top.column === null ? braces * context.unit : top.column - 1;
    return top.column === null ? (braces + 1) * context.unit : top.column;
  }
  if (/^(?:\}|case\b|default\s*:)/.test(textAfter)) return Math.max(braces - 1, 0) * context.unit;
  if (/^\{/.test(textAfter)) return (braces + Math.max(state.waiting - 1, 0)) * context.unit;
  const operator = /^(?!\+\+|--)[-+*/%&|^~<>=?]+$/.test(state.last);
  const continued = operator && (top || !/^\*+$/.test(state.last)) ? 1 : 0; // a type may have a line of its own
  return (braces + state.waiting + continued) * context.unit;
}

// ---------------------------------------------------------------- the editor

/* True for the text of a cell that `%%bpf` takes; blank lines may stand before it. Only these lines are read. */
function isBpf(doc) {
  for (let number = 1; number <= doc.lines; number++) {
    const { text } = doc.line(number);
    if (text.trim()) return /^\s*%%bpf(?:\s|$)/.test(text);
  }
  return false;
}

function bpfSupport({ StreamLanguage, foldService, indentUnit, matchBrackets }) {
  const language = StreamLanguage.define({
    name: "bpf",
    startState,
    token,
    blankLine,
    indent,
    languageData: {
      commentTokens: { line: "//", block: { open: "/*", close: "*/" } },
      closeBrackets: { brackets: ["(", "[", "{", "'", '"'] },
      indentOnInput: /^\s*(?:\{|\}|#|case .*:|default\s*:)$/,
    },
  });
  // Tabs, unless the cell is indented with spaces already.
  const unit = state => {
    const [, spaces] = /^(?:( {2,8})|\t)\S/m.exec(state.sliceDoc()) || [];
    return spaces || "\t";
  };
  const fold = (state, from, to) => {
    const at = from + state.sliceDoc(from, to).trimEnd().length - 1;
    if (at < from || state.sliceDoc(at, at + 1) !== "{") return null;
    const { matched, end } = matchBrackets(state, at, 1, { maxScanDistance: 1e5 }) || {};
    return matched && end.from > to ? { from: at + 1, to: end.from } : null;
  };
  return [language, indentUnit.compute(["doc"], unit), foldService.of(fold)];
}

/* An extension that puts `support` before the language of the notebook while the cell is one of %%bpf. */
function whileBpf({ Compartment, EditorState, Prec, Text }, support, source) {
  const compartment = new Compartment();
  const switching = EditorState.transactionExtender.of(transaction => {
    if (!transaction.docChanged) return null;
    const is = isBpf(transaction.newDoc);
    if (is === isBpf(transaction.startState.doc)) return null;
    return { effects: compartment.reconfigure(is ? support : []) };
  });
  const atFirst = isBpf(Text.of(source.split("\n"))) ? support : [];
  return [Prec.high(compartment.of(atFirst)), switching];
}

// ---------------------------------------------------------------- cells of the hook search

/* Puts what the hook search shows below the cell that shows it; the button is one of ipywidgets. */
function insertShown(app, { target }) {
  const button = target.closest(".ebpflab-insert");
  const text = button && button.closest(".ebpflab-made").querySelector(".ebpflab-cell textarea");
  const panel = [...app.shell.widgets("main")].find(({ node, content }) => node.contains(target) && content?.widgets);
  if (!text || !panel) return;
  const { content: notebook } = panel;
  const below = notebook.widgets.findIndex(({ node }) => node.contains(target)) + 1;
  if (!below) return;
  const metadata = { trusted: true }; // as of any cell that a user adds
  panel.model.sharedModel.insertCell(below, { cell_type: "code", source: text.value, metadata });
  notebook.activeCellIndex = below;
  notebook.deselectAll();
  notebook.mode = "edit";
}

// ---------------------------------------------------------------- the plugin

const MODULES = ["@jupyterlab/codemirror", "@codemirror/language", "@codemirror/state"];

/* `shared` gives the modules of JupyterLab by their names. */
export async function plugin(shared) {
  const [codemirror, language, state] = await Promise.all(MODULES.map(shared));
  const support = bpfSupport(language);
  const { EditorExtensionRegistry, IEditorExtensionRegistry } = codemirror;
  return {
    id: "ebpflab:bpf-cells",
    description: "C in %%bpf cells: highlighting, indentation, comments and folding; cells of the hook search.",
    autoStart: true,
    requires: [IEditorExtensionRegistry],
    activate: (app, registry) => {
      document.body.classList.add("ebpflab-lab"); // shows the button that puts a cell below
      document.addEventListener("click", event => insertShown(app, event));
      registry.addExtension({
        name: "ebpflab:bpf-cells",
        // Cells of code only, of notebooks and consoles: a file editor's model has no type.
        factory: ({ model }) =>
          model.type === "code"
            ? EditorExtensionRegistry.createImmutableExtension(whileBpf(state, support, model.sharedModel.source))
            : null,
      });
    },
  };
}
