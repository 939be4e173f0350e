// The sampler's timesteps: strokes along the time axis, and dots on a curve while they are few.

import { svg } from "./svg.js";

const STROKE = 7;

/** How far apart dots must be to be told from each other, in pixels. */
const APART = 6;

/**
 * @param {number[]} timesteps
 * @param {import("./scales.js").Scale} x
 * @param {number} y - of the axis
 */
export function strokes(timesteps, x, y) {
  const lines = onceAPixel(timesteps, x).map((at) => `M${at} ${y}v${STROKE}`);
  return svg("path", { class: "unconditional-marks", d: lines.join(""), fill: "none" });
}

/** @param {(t: number) => number} height - of the curve at a timestep, in pixels */
export function dots(timesteps, x, height) {
  const group = svg("g", { class: "unconditional-mark-dots" });
  const width = Math.abs(x(Math.max(...timesteps)) - x(Math.min(...timesteps)));
  if (width < APART * (timesteps.length - 1)) return group;
  for (const t of timesteps) group.append(svg("circle", { cx: x(t), cy: height(t), r: 2.2 }));
  return group;
}

/** Where the strokes stand; a thousand of them are no more than there are (half) pixels. */
function onceAPixel(timesteps, x) {
  return [...new Set(timesteps.map((t) => (Math.round(x(t) * 2) / 2).toFixed(1)))];
}
