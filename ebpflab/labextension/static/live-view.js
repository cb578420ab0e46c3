/* A live view below its cell: the widget while the kernel has it, else what it last published as HTML.
 *
 * The kernel publishes `application/vnd.ebpflab.view+json` with the id of the widget's model, and beside it the same
 * content as HTML. That HTML is what the notebook keeps; it is shown in the widget's place when the kernel ended or was
 * restarted, or when the notebook was opened without one.
 */

const VIEW = "application/vnd.ebpflab.view+json";
const WIDGET = "application/vnd.jupyter.widget-view+json";
const HTML = "text/html";
const RANK = -20; // before the renderer of ipywidgets, which has -10
const GONE = new Set(["restarting", "autorestarting", "terminating", "dead"]);
const ENDED = "The kernel ended: this is what the view showed last.";
const PATIENCE = 2000; // ms that a new widget may take before the HTML is shown for it

/* While the widget is made, it has its width already and cannot be seen. */
const UNSEEN = "visibility: hidden; height: 0; overflow: hidden";

function rendererClass({ Panel, Widget }, { MimeModel }) {
  return class LiveViewRenderer extends Panel {
    /* `makeTwin` makes a renderer of HTML; `owner` finds the notebook or console that this is in, once it is there. */
    constructor(makeTwin, owner) {
      super();
      this.addClass("ebpflab-live-view");
      this._owner = owner;
      this._twin = makeTwin();
      this._twin.hide();
      this._ended = new Widget();
      this._ended.node.setAttribute("role", "status");
      this.addWidget(this._ended);
      this.addWidget(this._twin);
      // The widget's renderer tells nobody when it has something to show, or has nothing any more.
      this._observer = new MutationObserver(() => this._refresh());
    }

    dispose() {
      if (this.isDisposed) return;
      this._follow(null);
      this._observer.disconnect();
      clearTimeout(this._timer);
      super.dispose();
    }

    /* Called with every update; one of the same widget changes only what is kept for later. */
    async renderModel(model) {
      const { model_id: id } = model.data[VIEW];
      const fresh = id !== this._id;
      if (fresh) this._drop();
      if (fresh) this._outlived = false;
      Object.assign(this, { _id: id, _model: model, _drawn: false });
      this._find();
      if (fresh && this._there()) {
        this._waits = true;
        this._timer = setTimeout(() => this._giveUp(), PATIENCE);
      }
      await this._refresh();
    }

    /* Called when a notebook or a console was opened: it may be the one that this is in. */
    opened() {
      this._find();
      this._refresh();
    }

    _find() {
      if (!this._session) this._follow(this._owner());
    }

    _follow(place) {
      const before = this._session;
      for (const name of ["kernelChanged", "statusChanged"]) {
        before?.[name].disconnect(this._refresh, this);
        place?.session[name].connect(this._refresh, this);
      }
      before?.iopubMessage.disconnect(this._hear, this);
      place?.session.iopubMessage.connect(this._hear, this);
      this._session = place?.session;
      this._rendermime = place?.rendermime;
    }

    /* The kernel of the notebook or console, unless it ended or is about to. */
    get _kernel() {
      const kernel = this._session?.session?.kernel;
      return kernel && !GONE.has(kernel.status) ? kernel : null;
    }

    /* Whether the kernel has the widget, as far as this page knows. */
    _there() {
      return !!this._kernel?.hasComm(this._id);
    }

    _hear(_, { header, content }) {
      if (header.msg_type === "update_display_data") this._take(content);
      if (!this._live) this._refresh();
    }

    /* JupyterLab gives updates only to outputs that came since the page was loaded. Those from the file are ours, so that
     * a notebook that is saved again has the newest. */
    _take({ data, metadata, transient }) {
      const id = data[VIEW]?.model_id ?? transient?.display_id;
      if (id === this._id && data[HTML] !== this._model.data[HTML]) this._model.setData({ data, metadata });
    }

    _giveUp() {
      this._waits = false;
      this._refresh();
    }

    /* Show what there is: the widget, or else the HTML. */
    async _refresh() {
      if (this.isDisposed || !this._model) return;
      const there = this._there();
      if (there && !this._live) this._begin();
      if (!there && this._live) {
        this._outlived = !this._kernel && this._lived;
        this._drop();
      }
      const lives = !!this._live?.widgets.some(({ node }) => node.childElementCount);
      if (lives) Object.assign(this, { _waits: false, _lived: true, _outlived: false });
      if (this._live) this._live.node.style.cssText = lives ? "" : UNSEEN;
      const twin = !lives && !this._waits;
      this._twin.setHidden(!twin);
      if (twin && !this._drawn) {
        this._drawn = true;
        await this._twin.renderModel(this._model);
      }
      this._tell(this._outlived ? ENDED : "");
    }

    /* Beside HTML that says how the session is, that it was so. */
    _tell(text) {
      const { node } = this._ended;
      if (node.textContent === text) return;
      node.textContent = text;
      node.style.cssText = text && "padding: 4px 8px; color: var(--jp-ui-font-color2); font-size: var(--jp-ui-font-size1)";
    }

    _begin() {
      this._live = this._rendermime.createRenderer(WIDGET);
      this._live.node.style.cssText = UNSEEN;
      this.addWidget(this._live);
      this._observer.observe(this._live.node, { childList: true, subtree: true });
      // Data of its own: the renderer of ipywidgets takes the id out of it when the widget is closed.
      const data = { [WIDGET]: { model_id: this._id, version_major: 2, version_minor: 0 }, "text/plain": "" };
      const live = this._live;
      live.renderModel(new MimeModel({ data, trusted: true })).catch(error => live.isDisposed || console.error(error));
    }

    _drop() {
      const live = this._live;
      this._live = null;
      this._waits = this._lived = false;
      clearTimeout(this._timer);
      this._observer.disconnect();
      live?.dispose();
    }
  };
}

const MODULES = ["@lumino/widgets", "@jupyterlab/rendermime", "@jupyterlab/notebook", "@jupyterlab/console"];

/* `shared` gives the modules of JupyterLab by their names. */
export async function plugin(shared) {
  const [lumino, rendermime, { INotebookTracker }, { IConsoleTracker }] = await Promise.all(MODULES.map(shared));
  const Renderer = rendererClass(lumino, rendermime);

  function activate(app, registry, ...trackers) {
    const places = trackers.filter(tracker => tracker);
    // What is in a notebook or a console has its resolver of paths, and nothing else has.
    const place = resolver => {
      for (const tracker of places) {
        const panel = tracker.find(({ content, console }) => (content ?? console).rendermime.resolver === resolver);
        if (panel) return { session: panel.sessionContext, rendermime: (panel.content ?? panel.console).rendermime };
      }
      return null;
    };
    const createRenderer = options => {
      const makeTwin = () => registry.getFactory(HTML).createRenderer({ ...options, mimeType: HTML });
      const made = new Renderer(makeTwin, () => place(options.resolver));
      for (const { widgetAdded } of places) {
        widgetAdded.connect(made.opened, made);
        made.disposed.connect(() => widgetAdded.disconnect(made.opened, made));
      }
      return made;
    };
    // Not safe: a notebook that is not trusted shows the HTML, and cleans it.
    registry.addFactory({ safe: false, mimeTypes: [VIEW], createRenderer }, RANK);
    document.body.classList.add("ebpflab-live"); // tells the view that its output may change under it
  }

  return {
    id: "ebpflab:live-view",
    description: "Live views of ebpflab: the widget while its kernel has it, else what it published last.",
    autoStart: true,
    requires: [rendermime.IRenderMimeRegistry],
    optional: [INotebookTracker, IConsoleTracker],
    activate,
  };
}
