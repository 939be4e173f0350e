// Execution ids, with which the host names the node that it runs: "5", or "3:5" for the node 5 in the
// subgraph of node 3.

import { app } from "../../scripts/app.js";

/** The node with this execution id, or null. */
export function nodeAt(executionId) {
  const ids = String(executionId).split(":");
  const last = ids.pop();
  const graph = ids.reduce((outer, id) => get(outer, id)?.subgraph, rootGraph());
  return get(graph, last);
}

/** All execution ids of a node: one for each use of the subgraph that it is in. */
export function executionIds(node, graph = rootGraph(), outer = "") {
  return (graph?.nodes ?? []).flatMap((each) => [
    ...(each === node ? [`${outer}${each.id}`] : []),
    ...(each.subgraph ? executionIds(node, each.subgraph, `${outer}${each.id}:`) : []),
  ]);
}

const rootGraph = () => app.rootGraph ?? app.graph;

function get(graph, id) {
  return graph?.getNodeById?.(id) ?? graph?.getNodeById?.(Number(id)) ?? null;
}
