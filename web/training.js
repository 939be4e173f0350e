// Train Unconditional UNet shows in its node what it will train, and then the run: time left, loss,
// samples.

import { api } from "../../scripts/api.js";
import { chain } from "./chain.js";
import { everyNode } from "./every_node.js";
import { showResults } from "./results.js";
import { addPanel } from "./training/panel.js";

const NODE = "UnconditionalTrain";
const KEY = "unconditional_training";
const ROUTE = "/unconditional/training";

/** Delay from the last change of a widget to the request for the plan, in milliseconds. */
const PAUSE = 400;

/** Node -> its panel. */
const panels = new WeakMap();

showResults({
  name: "Unconditional.Training",
  shows: (nodeId) => nodeId === NODE,
  key: KEY,
  created: addTraining,
  show: (node, [report]) => panels.get(node)?.showReport(JSON.parse(report)),
});

api.addEventListener(KEY, ({ detail: { node, report } }) => {
  const [, trained] = everyNode().find(([id]) => id === node) ?? [];
  panels.get(trained)?.showReport(report);
});

api.addEventListener("reconnected", () => {
  for (const [, node] of everyNode()) {
    if (panels.has(node)) void restore(node, () => panels.get(node).endRun());
  }
});

function addTraining(node) {
  const panel = addPanel(node);
  if (!panel) return;
  panels.set(node, panel);

  let last = 0;
  const plan = async () => {
    const number = ++last;
    const answer = await ask(`${ROUTE}/plan`, settings(node));
    // A later request may be answered first.
    if (number === last) panel.showPlan(answer);
  };
  let timer = 0;
  const planSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => idsOf(node).length && plan(), PAUSE);
  };
  for (const widget of node.widgets) chain(widget, "callback", planSoon);
  chain(node, "onConnectionsChange", planSoon);
  planSoon();

  // Only after that is the node in the graph, with the values of its workflow.
  setTimeout(() => restore(node));
}

/** Show the last report of a node's run, which this page may have missed. */
async function restore(node, otherwise = () => {}) {
  for (const id of idsOf(node)) {
    const report = await ask(`${ROUTE}?node=${encodeURIComponent(id)}`);
    if (report.state && isOf(node, report)) return panels.get(node).showReport(report);
  }
  otherwise();
}

/** The execution ids of a node; none if it was removed. */
const idsOf = (node) => everyNode().flatMap(([id, each]) => (each === node ? [id] : []));

/** Whether a report is about this node: nodes of other workflows may have the same id. */
function isOf(node, report) {
  const { name } = settings(node);
  // If the name is taken, the host adds a number.
  const names = [report.name, report.name.replace(/_\d+$/, "")];
  return name === undefined || !report.name || names.includes(name);
}

/** The values of a node's widgets, except those that get their value through a link. */
function settings(node) {
  const linked = node.inputs.filter(({ link }) => link != null).map(({ name }) => name);
  const own = node.inputs.map(({ name }) => name).filter((name) => !linked.includes(name));
  const values = node.widgets
    .filter(({ name }) => own.includes(name))
    .map(({ name, value }) => [name, value]);
  return { ...Object.fromEntries(values), linked };
}

/** The host's answer; empty if there is none. */
async function ask(path, content) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" } };
  try {
    const response = await api.fetchApi(
      path,
      content ? { ...post, body: JSON.stringify(content) } : {},
    );
    return response.ok ? await response.json() : {};
  } catch {
    return {};
  }
}
