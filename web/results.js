// Passes the results of a run to the nodes that show them: after a run, when the host returns a cached
// result, and when the editor restores a workflow with its results (reopening a tab, undo, history).

import { app } from "../../scripts/app.js";
import { chain } from "./chain.js";

/**
 * @param {object} options
 * @param {string} options.name - of the extension
 * @param {(nodeId: string) => boolean} options.shows - whether nodes of this kind show it
 * @param {string} options.key - of the result in the node's output
 * @param {(node: object, result: Array) => void} options.show - called with each result
 * @param {(node: object) => void} [options.created] - called with each new node
 */
export function showResults({ name, shows, key, show, created }) {
  const accept = (node, output) => {
    const result = output?.[key];
    if (Array.isArray(result) && result.length) show(node, result);
  };

  app.registerExtension({
    name,

    beforeRegisterNodeDef(nodeType, nodeData) {
      if (!shows(nodeData.name)) return;
      chain(nodeType.prototype, "onExecuted", accept);
      if (created) chain(nodeType.prototype, "onNodeCreated", created);
    },

    onNodeOutputsUpdated(outputs) {
      for (const [locator, output] of Object.entries(outputs ?? {})) {
        const node = output?.[key] && find(locator);
        if (node && shows(node.comfyClass ?? node.type)) accept(node, output);
      }
    },
  });
}

/** The node with the locator "5", or "<id of a subgraph>:5". */
function find(locator) {
  const root = app.rootGraph ?? app.graph;
  const [id, subgraph] = String(locator).split(":").reverse();
  const graph = subgraph === undefined ? root : root?.subgraphs?.get?.(subgraph);
  return graph?.getNodeById?.(id) ?? graph?.getNodeById?.(Number(id)) ?? null;
}
