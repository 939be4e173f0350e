// What the training node shows: facts, the loss curve, samples and notes, one below the other. Curve
// and samples share the node's spare height; the node grows when they need more.

import { chain } from "../chain.js";
import { addElement } from "../dom_widget.js";
import { block, fill } from "../elements.js";
import { words } from "../words.js";
import { addCurve } from "./curve.js";
import { factLines, isRunning, noteLines } from "./lines.js";
import { addSamples } from "./samples.js";

const WIDGET = "unconditional_training";
const MARGIN = 20;

/** The width of a new node. */
const WIDTH = 360;

/**
 * @typedef {object} Report - of a run
 * @property {string} name - of the model; empty until the pictures are read
 * @property {"reading" | "training" | "stopped" | "finished" | "failed"} state
 * @property {number | null} parameters
 * @property {[number, number] | null} size - height, width
 * @property {number | null} channels
 * @property {number | null} memory - in bytes
 * @property {number | null} pictures
 * @property {number} step - the last one done, or pictures read
 * @property {number} steps - the requested number, or pictures found
 * @property {number | null} seconds_left
 * @property {number | null} seconds_per_step
 * @property {[number, number][]} losses - step, mean loss
 * @property {number[]} saved - the steps at which it was saved
 * @property {string[]} notes
 * @property {import("./samples.js").Grid | null} grid - null: the last one still applies
 *
 * @typedef {object} Plan - what would be trained; unknown fields are missing
 * @property {string} [error]
 */

/** @returns {object | null} the functions that show something; null if the editor cannot */
export function addPanel(node) {
  const element = block("unconditional-training");
  const height = { min: MARGIN };
  if (!addElement(node, WIDGET, element, height)) return null;
  node.setSize([Math.max(WIDTH, node.size[0]), node.size[1]]);
  const facts = block("unconditional-report unconditional-wraps");
  const notes = block("unconditional-report unconditional-wraps");
  const curve = addCurve(node);
  const samples = addSamples(fit);
  element.append(facts, curve.element, samples.element, notes);

  /** @type {Report | null} */
  let report = null;
  /** @type {Plan} */
  let plan = {};
  let name = ""; // of the model that the samples are of

  async function draw() {
    const say = await words();
    fill(facts, factLines(say, report, plan));
    fill(notes, noteLines(report, plan));
    curve.draw(say, report);
    samples.draw(say);
    fit();
  }

  function fit() {
    // The editor hides the elements of nodes that are out of view.
    if (!element.clientWidth) return;
    const [least, most] = samples.heights(element.clientWidth);
    samples.element.style.maxHeight = `${most}px`;
    const needed = facts.offsetHeight + curve.least() + least + notes.offsetHeight;
    height.min = needed + MARGIN;
    element.style.minHeight = `${needed}px`;
    const [, whole] = node.computeSize();
    if (node.size[1] < whole) node.setSize([node.size[0], whole]);
    node.setDirtyCanvas(true, true);
  }

  // Lines are wrapped differently when the width changes.
  const sized = new ResizeObserver(fit);
  const watch = () => [facts, samples.element, notes].forEach((each) => sized.observe(each));
  watch();
  chain(node, "onAdded", watch);
  chain(node, "onRemoved", () => sized.disconnect());
  void draw();

  return {
    /** @param {Report} given */
    showReport(given) {
      // A run that starts uses the planned settings.
      if (isRunning(given) && !isRunning(report)) plan = {};
      if (given.name) {
        if (given.grid || given.name !== name) samples.show(given.grid);
        name = given.name;
      }
      report = given;
      void draw();
    },

    /** @param {Plan} given */
    showPlan(given) {
      plan = given;
      void draw();
    },

    /** The host was restarted: the run that was shown ended with it. */
    endRun() {
      if (!isRunning(report)) return;
      report = { ...report, state: "stopped", step: report.saved.at(-1) ?? 0 };
      void draw();
    },
  };
}
