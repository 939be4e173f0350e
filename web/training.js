// Train Unconditional UNet shows in its node what it is going to train, and then the run: time left,
// loss, samples.

import { api } from "../../scripts/api.js";
import { chain } from "./chain.js";
import { executionIds, nodeAt } from "./execution_ids.js";
import { showResults } from "./results.js";
import { addPanel } from "./training/panel.js";

const NODE = "UnconditionalTrain";
const KEY = "unconditional_training";
const ROUTE = "/unconditional/training";

/** From the last change of a widget to the question what would be trained, in milliseconds. */
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

api.addEventListener(KEY, ({ detail }) => {
  panels.get(nodeAt(detail.node))?.showReport(detail.report);
});

function addTraining(node) {
  const panel = addPanel(node);
  if (!panel) return;
  panels.set(node, panel);

  let last = 0;
  const plan = async () => {
    const number = ++last;
    const answer = await ask(`${ROUTE}/plan`, settings(node));
    // A later question may be answered first.
    if (number === last) panel.showPlan(answer);
  };
  let timer = 0;
  const planSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => node.graph && plan(), PAUSE);
  };
  for (const widget of node.widgets) chain(widget, "callback", planSoon);
  chain(node, "onConnectionsChange", planSoon);
  chain(node, "onRemoved", () => clearTimeout(timer));
  planSoon();

  const restore = async () => {
    const report = await lastReport(node);
    if (report) panel.showReport(report);
    return Boolean(report);
  };
  // Only then is the node in the graph, with the values of its workflow.
  setTimeout(restore);
  const reconnected = async () => {
    if (!(await restore())) panel.endRun();
  };
  chain(node, "onAdded", () => api.addEventListener("reconnected", reconnected));
  chain(node, "onRemoved", () => api.removeEventListener("reconnected", reconnected));
}

/** The last report of a run of this node, which this page may have missed. */
async function lastReport(node) {
  for (const id of executionIds(node)) {
    const report = await ask(`${ROUTE}?node=${encodeURIComponent(id)}`);
    if (report.state && isOf(node, report)) return report;
  }
  return null;
}

/** Whether a report is about this node: those of other workflows may have the same id. */
function isOf(node, report) {
  const { name } = settings(node);
  return name === undefined || name === report.name;
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
