// RePaint Sampler shows before a run how many evaluations it takes. A preset sets several inputs;
// when one of them is changed, the preset becomes "custom".

import { app } from "../../scripts/app.js";
import { chain } from "./chain.js";
import { showNote } from "./note.js";
import { language } from "./translations.js";
import { words } from "./words.js";

const NODE = "UnconditionalRePaintSampler";
const CUSTOM = "custom";
const INPUTS = ["steps", "jump_length", "resamplings"];

app.registerExtension({
  name: "Unconditional.RePaint",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return;
    const [, { presets }] = nodeData.input.required.preset;
    chain(nodeType.prototype, "onNodeCreated", (node) => addCount(node, presets));
  },
});

/** @param {Record<string, Record<string, number>>} presets - the inputs that each one sets */
function addCount(node, presets) {
  const find = (name) => node.widgets.find((widget) => widget.name === name);
  const preset = find("preset");

  const show = async () => {
    const say = await words();
    if (node.graph) showNote(node, lines(say, node, presets[preset.value]));
  };
  chain(preset, "callback", () => {
    const chosen = presets[preset.value] ?? {};
    for (const [name, value] of Object.entries(chosen)) find(name).value = value;
    void show();
  });
  for (const name of INPUTS) {
    chain(find(name), "callback", () => {
      if (presets[preset.value]?.[name] !== find(name).value) preset.value = CUSTOM;
      void show();
    });
  }
  chain(node, "onConnectionsChange", show);
  chain(node, "onConfigure", show);
  // Only after that is a new node in the graph.
  setTimeout(show);
}

/**
 * @param {{steps: number, jump_length: number, resamplings: number}} settings
 * @returns {{evaluations: number, jumps: number}} as `schedulers/repaint.py` counts them
 */
function count({ steps, jump_length: length, resamplings }) {
  const jumps = Math.max(0, Math.ceil(steps / length) - 1) * (resamplings - 1);
  return { evaluations: steps + jumps * length, jumps };
}

function lines(say, node, preset) {
  const isLinked = (name) => node.inputs?.some((input) => input.name === name && input.link != null);
  if (isLinked("preset") || (!preset && INPUTS.some(isLinked))) return [say("repaint.linked"), ""];
  const values = node.widgets.map(({ name, value }) => [name, value]);
  const settings = preset ?? Object.fromEntries(values);
  const { evaluations, jumps } = count(settings);
  const { jump_length: length } = settings;
  return [
    say("repaint.evaluations", { n: evaluations, number: written(evaluations) }),
    jumps ? say("repaint.jumps", { n: jumps, number: written(jumps), length }) : say("repaint.none"),
  ];
}

/** 2,410 */
const written = (number) => number.toLocaleString(language());
