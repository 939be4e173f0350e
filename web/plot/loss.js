// Draws the loss of a run over its steps: a thin line, and a smooth one over it.

import { short } from "../numbers.js";
import { strokes } from "./marks.js";
import { panel } from "./panel.js";
import { linear, narrowLogarithmic } from "./scales.js";
import { path, set, svg } from "./svg.js";

const MARGIN = { left: 44, right: 20, top: 4, bottom: 40 };

/** The share of the points that a mean of the smooth line takes on each side. */
const WINDOW = 1 / 40;

/**
 * @param {object} run
 * @param {[number, number][]} run.losses - step and mean loss, ascending; positive
 * @param {number[]} run.saved - the steps at which the run was saved
 * @param {number} width
 * @param {number} height
 * @param {import("../words.js").Say} say
 * @returns {{root: SVGElement, point: (x: number | null) => void}} the drawing, and a function
 *   that shows the step and loss at x pixels, or the last loss
 */
export function drawLoss({ losses, saved }, width, height, say) {
  const steps = losses.map(([step]) => step);
  const values = losses.map(([, loss]) => loss);
  const smooth = smoothed(values);
  const left = MARGIN.left;
  const right = Math.max(left + 40, width - MARGIN.right);
  const floor = Math.max(60, height - MARGIN.bottom);
  // A point is the mean of a few steps, and so before the last of them.
  const [first, last] = [steps[0], Math.max(steps[steps.length - 1], ...saved)];
  const count = Math.max(2, Math.floor((right - left) / 75));
  const x = linear(first, Math.max(first + 1, last), left, right, count, 1);
  const root = svg("svg", {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": say("training.drawing", { last: Math.round(last) }),
  });

  const bounds = [Math.min(...values), Math.max(...values)];
  const curve = panel(
    {
      name: "loss",
      words: say("training.loss"),
      values: smooth,
      scale: (from, to, ticks) => narrowLogarithmic(...bounds, from, to, ticks),
    },
    steps,
    x,
    { left, right, top: MARGIN.top, bottom: floor },
  );
  const thin = path(steps.map((step, i) => [x(step), curve.y(values[i])]), { class: "thin" });
  root.append(thin, curve.root);

  // The axis of steps and the marks of the saved ones.
  for (const { value, label } of x.ticks) {
    const at = { x: x(value), y: floor + 20 };
    root.append(svg("text", { class: "tick", ...at, "text-anchor": "middle" }, label));
  }
  const marked = saved.filter((step) => step >= first).reverse();
  const below = floor + 34;
  root.append(strokes(marked, x, floor));
  root.append(svg("text", { class: "tick", x: left, y: below }, say("training.axis")));
  if (marked.length) {
    const words = say("training.saved", { n: marked.length });
    root.append(svg("text", { class: "marked", x: right, y: below, "text-anchor": "end" }, words));
  }

  const d = `M0 ${curve.top}V${curve.bottom}`;
  const cross = svg("path", { class: "cross", d, fill: "none", visibility: "hidden" });
  root.append(cross);

  function point(at) {
    const i = at === null ? steps.length - 1 : closest(steps, x, at);
    const values = { step: Math.round(steps[i]), loss: short(smooth[i]) };
    curve.point(i, at === null ? values.loss : say("training.point", values));
    set(cross, { visibility: at === null ? "hidden" : "visible" });
    set(cross, { transform: `translate(${x(steps[i])} 0)` });
  }

  return { root, point };
}

/** Means over a window, which is smaller at the start, where the loss falls quickly. */
function smoothed(values) {
  const most = Math.ceil(values.length * WINDOW);
  return values.map((_, i) => {
    const side = Math.min(i, most);
    const window = values.slice(i - side, i + side + 1);
    return window.reduce((sum, value) => sum + value, 0) / window.length;
  });
}

function closest(steps, x, at) {
  const distances = steps.map((step) => Math.abs(x(step) - at));
  return distances.indexOf(Math.min(...distances));
}
