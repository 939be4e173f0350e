// Translates the options of our nodes' combo inputs. The editor takes titles, names and tooltips from
// locales/<language>/nodeDefs.json itself, but not options; for those it calls a widget's
// `options.getOptionLabel`. The value, which workflows save, does not change.

import { app } from "../../scripts/app.js";
import { FALLBACK, language, translations } from "./translations.js";

let served = {};

app.registerExtension({
  name: "Unconditional.OptionLabels",

  /** The editor waits for this before it creates any node. */
  async init() {
    served = await translations;
  },

  nodeCreated(node) {
    const id = node.comfyClass ?? "";
    if (!id.startsWith("Unconditional")) return;
    for (const widget of node.widgets ?? []) {
      // The English file lists the options of every combo input that we translate.
      if (!widget.options || !labelsOf(FALLBACK, id, widget.name)) continue;
      // Looked up each time, to follow the language setting.
      widget.options.getOptionLabel = (value) =>
        labelsOf(language(), id, widget.name)?.[value] ?? value ?? "";
    }
  },
});

/** @returns {Record<string, string> | undefined} value -> label */
function labelsOf(spoken, nodeId, inputName) {
  return served[spoken]?.nodeDefs?.[nodeId]?.inputs?.[inputName]?.options;
}
