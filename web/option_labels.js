/**
 * The choices of our nodes in the editor's language. The editor translates titles, names and
 * tooltips from locales/<language>/nodeDefs.json by itself, but no choices; it asks a widget's
 * `options.getOptionLabel` for what to show. The value, which workflows save, stays what it is.
 */
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const PREFIX = "Unconditional";

/** language -> nodeDefs of all packs, as the host merges them */
let translations = {};

/** @returns {Record<string, string> | undefined} value -> label */
function labelsOf(locale, nodeId, inputName) {
  return translations[locale]?.nodeDefs?.[nodeId]?.inputs?.[inputName]?.options;
}

app.registerExtension({
  name: "Unconditional.OptionLabels",

  /** The editor waits for this before it makes any node. */
  async init() {
    try {
      const response = await api.fetchApi("/i18n");
      if (response.ok) translations = await response.json();
    } catch {
      // Without translations the choices are shown as they are.
    }
  },

  nodeCreated(node) {
    const id = node.comfyClass ?? "";
    if (!id.startsWith(PREFIX)) return;
    for (const widget of node.widgets ?? []) {
      // The English file has the choices of every input that offers some of its own.
      if (!widget.options || !labelsOf("en", id, widget.name)) continue;
      // Asked anew each time, so that it follows the setting.
      widget.options.getOptionLabel = (value) => {
        const locale = app.extensionManager?.setting?.get("Comfy.Locale");
        return labelsOf(locale, id, widget.name)?.[value] ?? value ?? "";
      };
    }
  },
});
