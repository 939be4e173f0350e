// The pictures that a model draws during training: one sheet for the averaged weights, one for the
// current weights, and one of the nearest training pictures.

import { block } from "../elements.js";

const SHEETS = ["averaged", "current", "nearest"];

/** The height from which a sheet need not fill the width, in pixels. */
const LEAST = 220;

/** The gap above the sheet. */
const GAP = 6;

/**
 * @typedef {object} Grid
 * @property {number} step
 * @property {string} averaged - the address of a sheet
 * @property {string} current
 * @property {string} nearest
 * @property {number | null} ratio - distance to the nearest training pictures / that of new pictures
 * @property {number} copies
 * @property {number} samples
 * @property {boolean} copying
 */

/** @param {() => void} changed - called when the required height changes */
export function addSamples(changed) {
  const element = block("unconditional-samples");
  element.hidden = true;
  const frame = block("unconditional-sheet");
  const sheet = document.createElement("img");
  sheet.draggable = false;
  sheet.addEventListener("load", changed);
  frame.append(sheet);
  const bar = block("unconditional-sheet-bar");
  const step = document.createElement("span");
  const buttons = SHEETS.map((name) => button(name, () => press(name)));
  bar.append(step, ...buttons);
  const gauge = block("unconditional-report unconditional-wraps");
  element.append(frame, bar, gauge);

  /** @type {Grid | null} */
  let grid = null;
  let shown = "averaged";
  let samples = shown; // of the weights that were shown last
  let say = null;

  /** Show a sheet; the button of the training pictures also goes back. */
  function press(name) {
    shown = name === "nearest" && shown === name ? samples : name;
    if (shown !== "nearest") samples = shown;
    redraw();
  }

  function redraw() {
    element.hidden = !grid;
    if (!grid) return;
    step.textContent = say("training.samples", { n: grid.samples, step: grid.step });
    if (sheet.src !== grid[shown]) sheet.src = grid[shown];
    sheet.alt = say(`training.${shown}_help`);
    for (const each of buttons) {
      const { name } = each.dataset;
      each.textContent = say(`training.${name}`);
      each.title = say(`training.${name}_help`);
      each.setAttribute("aria-pressed", String(name === shown));
    }
    gauge.textContent = gaugeLine(say, grid);
    gauge.classList.toggle("unconditional-warning", grid.copying);
  }

  return {
    element,
    /** @param {Grid | null} given - applies from the next drawing on */
    show(given) {
      grid = given;
    },
    draw(words) {
      say = words;
      redraw();
    },
    /**
     * @param {number} width - of the panel, in pixels
     * @returns {[number, number]} the minimum and maximum height of what is shown
     */
    heights(width) {
      if (element.hidden) return [0, 0];
      const full = sheet.naturalWidth ? (width * sheet.naturalHeight) / sheet.naturalWidth : 0;
      const others = GAP + bar.offsetHeight + gauge.offsetHeight;
      return [Math.min(full, LEAST) + others, full + others];
    },
  };
}

function gaugeLine(say, { ratio, copies, samples, copying }) {
  if (ratio === null) return "";
  const values = { ratio: ratio.toFixed(2), n: copies, samples };
  if (copying) return `⚠ ${say("training.copying", values)}`;
  return say(copies ? "training.some_copies" : "training.no_copies", values);
}

function button(name, pressed) {
  const element = document.createElement("button");
  element.type = "button";
  element.dataset.name = name;
  element.addEventListener("click", pressed);
  return element;
}
