// Marks the sampler's timesteps: ticks on the time axis, and dots on a curve if there are few.

import { svg } from "./svg.js";

const STROKE = 7;

/** The minimum distance between dots, in pixels. */
const APART = 6;

/** Below this distance the strokes merge into a band, which is drawn lighter. */
const DENSE = 2.5;

/**
 * @param {number[]} timesteps
 * @param {import("./scales.js").Scale} x
 * @param {number} y - of the axis
 */
export function strokes(timesteps, x, y) {
  const lines = onceAPixel(timesteps, x).map((at) => `M${at} ${y}v${STROKE}`);
  const opacity = isApart(timesteps, x, DENSE) ? 1 : 0.4;
  const look = { class: "unconditional-marks", fill: "none", "stroke-opacity": opacity };
  return svg("path", { ...look, d: lines.join("") });
}

/** @param {(t: number) => number} height - of the curve at a timestep, in pixels */
export function dots(timesteps, x, height) {
  const group = svg("g", { class: "unconditional-mark-dots" });
  if (!isApart(timesteps, x, APART)) return group;
  for (const t of timesteps) group.append(svg("circle", { cx: x(t), cy: height(t), r: 2.2 }));
  return group;
}

/** Whether descending timesteps are this many pixels apart on average. */
function isApart(timesteps, x, pixels) {
  const width = x(timesteps[0]) - x(timesteps[timesteps.length - 1]);
  return width >= pixels * (timesteps.length - 1);
}

/** The positions of the strokes, at most one per half pixel. */
function onceAPixel(timesteps, x) {
  return [...new Set(timesteps.map((t) => (Math.round(x(t) * 2) / 2).toFixed(1)))];
}
