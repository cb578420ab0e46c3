/* The extension of JupyterLab 4 and Notebook 7: C in `%%bpf` cells, and live views that outlive their kernel.
 *
 * A container for module federation, written by hand: what is read here is what runs, and nothing is built.
 * JupyterLab calls `init` with the modules it shares, and `get("./extension")` for the plugins.
 */
(() => {
  "use strict";

  const PLUGINS = ["bpf-cells.js", "live-view.js"];
  const { src } = document.currentScript;
  let scope;

  /* One of our other files. It has the version of this one in its address: browsers keep them for a year. */
  const own = name => import(new URL(name + new URL(src).search, src).href);

  /* A module that JupyterLab shares. A second copy of CodeMirror would not know the facets of the first, so it is
   * the one in use, or else the newest, as webpack chooses singletons. */
  async function shared(name) {
    const versions = Object.entries(scope[name] || {});
    if (!versions.length) throw new Error(`ebpflab: JupyterLab shares no ${name}`);
    versions.sort(([a], [b]) => b.localeCompare(a, undefined, { numeric: true }));
    const [, entry] = versions.find(([, { loaded }]) => loaded) || versions[0];
    entry.loaded = 1;
    return (await entry.get())();
  }

  /* All plugins; one that cannot be made does not take the other with it. */
  async function extension() {
    const made = await Promise.allSettled(PLUGINS.map(async name => (await own(name)).plugin(shared)));
    for (const { reason } of made) if (reason) console.error(reason);
    return made.filter(({ value }) => value).map(({ value }) => value);
  }

  const modules = { "./extension": extension };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB.ebpflab = {
    init: shareScope => void (scope = shareScope),
    get: async name => {
      if (!(name in modules)) throw new Error(`ebpflab: no module ${name}`);
      const plugins = await modules[name]();
      return () => ({ __esModule: true, default: plugins });
    },
  };
})();
