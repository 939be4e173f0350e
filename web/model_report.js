// After a run, a loader shows what its model is and what was assumed about it.

import { showNote } from "./note.js";
import { large } from "./numbers.js";
import { showResults } from "./results.js";
import { words } from "./words.js";

showResults({
  name: "Unconditional.ModelReport",
  // Any of this pack's nodes may return it.
  shows: (nodeId) => nodeId.startsWith("Unconditional"),
  key: "unconditional_model",
  show: async (node, [report]) => {
    const model = JSON.parse(report);
    const say = await words();
    const canWrite = node.widgets?.some((widget) => widget.name === "write_json");
    if (node.graph) showNote(node, lines(say, model, canWrite), { wraps: true });
  },
});

function lines(say, model, canWrite) {
  const [height, width] = model.size ?? [];
  const averaged = { true: "averaged", false: "plain", null: "averaged_unknown" }[model.averaged];
  return [
    join(
      model.format,
      model.size ? `${width} × ${height}` : say("model.size_unknown"),
      say("model.channels", { n: model.channels }),
      say("model.parameters", { number: large(model.parameters) }),
    ),
    join(
      model.process,
      ...(model.sigmas
        ? [`σ = ${model.sigmas[0]} … ${model.sigmas[1]}`]
        : [say("model.prediction", { kind: model.prediction }), `T = ${model.timesteps}`]),
      say(`model.${averaged}`) + (model.place ? ` (${model.place})` : ""),
    ),
    ...assumptions(say, model, canWrite),
    ...model.warnings.map((text) => `⚠ ${text}`),
  ];
}

/** What was assumed, and how to change it. */
function assumptions(say, model, canWrite) {
  const { json: file } = model;
  const found = [];
  if (notEmpty(model.assumed)) found.push(say("model.assumed", { list: list(model.assumed) }));
  if (notEmpty(model.schedule)) {
    const name = model.is_single ? "schedule" : "no_scheduler_config";
    found.push(say(`model.${name}`, { list: list(model.schedule) }));
  }
  if (model.written) {
    found.push(say(`model.json_${model.written.how}`, { file, reason: model.written.reason ?? "" }));
  } else if (found.length) {
    found.push(say("model.change", { file }) + (canWrite ? say("model.write") : ""));
  }
  return found;
}

const join = (...parts) => parts.join(" · ");
const notEmpty = (entries) => Object.keys(entries).length > 0;

function list(entries) {
  return Object.entries(entries)
    .map(([name, value]) => `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ");
}
