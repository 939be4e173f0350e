// The nodes of a workflow with their execution ids, which the host sends: "5", or "3:5" for node 5 in
// the subgraph of node 3.

import { app } from "../../scripts/app.js";

/**
 * @returns {[string, object][]} execution id and node; a node in a subgraph that is used twice is
 *   listed twice
 */
export function everyNode(graph = app.rootGraph ?? app.graph, outer = "") {
  return (graph?.nodes ?? []).flatMap((node) => {
    const id = `${outer}${node.id}`;
    return [[id, node], ...(node.subgraph ? everyNode(node.subgraph, `${id}:`) : [])];
  });
}
