// The choices of our nodes in the editor's language. The editor takes titles, names and tooltips
// from locales/<language>/nodeDefs.json by itself, but no choices; it asks a widget's
// `options.getOptionLabel` for what to show. The value, which workflows save, stays what it is.

import { app } from "../../scripts/app.js";
import { FALLBACK, language, translations } from "./translations.js";

let served = {};

app.registerExtension({
  name: "Unconditional.OptionLabels",

  /** The editor waits for this before it makes any node. */
  async init() {
    served = await translations;
  },

  nodeCreated(node) {
    const id = node.comfyClass ?? "";
    if (!id.startsWith("Unconditional")) return;
    for (const widget of node.widgets ?? []) {
      // The English file has the choices of every input that offers some of its own.
      if (!widget.options || !labelsOf(FALLBACK, id, widget.name)) continue;
      // Asked anew each time, so that it follows the setting.
      widget.options.getOptionLabel = (value) =>
        labelsOf(language(), id, widget.name)?.[value] ?? value ?? "";
    }
  },
});

/** @returns {Record<string, string> | undefined} value -> what to show */
function labelsOf(spoken, nodeId, inputName) {
  return served[spoken]?.nodeDefs?.[nodeId]?.inputs?.[inputName]?.options;
}
