// What the host tells of a run reaches the nodes that show it: when they have run, when the host
// answers from its cache, and when the editor brings back a workflow with its results (a tab that
// is opened again, undo, the queue's history).

import { app } from "../../scripts/app.js";
import { chain } from "./chain.js";

/**
 * @param {object} options
 * @param {string} options.name - of the extension
 * @param {(nodeId: string) => boolean} options.shows - whether nodes of this kind show it
 * @param {string} options.key - of the result in what the node's run returned
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

/** The node that the editor calls "5", or "<id of a subgraph>:5". */
function find(locator) {
  const root = app.rootGraph ?? app.graph;
  const [id, subgraph] = String(locator).split(":").reverse();
  const graph = subgraph === undefined ? root : root?.subgraphs?.get?.(subgraph);
  return graph?.getNodeById?.(id) ?? graph?.getNodeById?.(Number(id)) ?? null;
}
