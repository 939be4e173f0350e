// One curve over timesteps or steps: title, axis with ticks, line, and an optional marked point.

import { path, set, svg, withIndex } from "./svg.js";

const TITLE = 17;

/** The space for a tick label, in pixels. */
const TICK = 24;

/**
 * @typedef {object} Curve
 * @property {string} name - for the style sheet
 * @property {string} [symbol] - for example "β"; it gets the index t
 * @property {string} words
 * @property {number[]} values
 * @property {(from: number, to: number, ticks: number) => import("./scales.js").Scale} scale
 */

/**
 * @param {Curve} curve
 * @param {number[]} times - of the curve's values
 * @param {import("./scales.js").Scale} x
 * @param {{left: number, right: number, top: number, bottom: number}} box - including the title
 */
export function panel(curve, times, x, box) {
  const top = box.top + TITLE;
  const ticks = Math.max(2, Math.min(5, Math.floor((box.bottom - top) / TICK)));
  const y = curve.scale(box.bottom, top, ticks);
  const root = svg("g", { class: `unconditional-panel unconditional-${curve.name}` });

  for (const { value, label } of y.ticks) {
    const at = y(value);
    root.append(
      svg("line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at }),
      svg("text", { class: "tick", x: box.left - 6, y: at + 3.5, "text-anchor": "end" }, label),
    );
  }
  const { left, right, bottom } = box;
  root.append(path([[left, top], [left, bottom], [right, bottom]], { class: "axis" }));

  const points = times.map((t, i) => [x(t), y(curve.values[i])]);
  if (points.length === 1) points.push([right, points[0][1]]);
  root.append(path(points, { class: "curve" }));

  const title = svg("text", { class: "title", x: left, y: box.top + 10 });
  if (curve.symbol) title.append(withIndex(curve.symbol, { class: "symbol" }));
  title.append(svg("tspan", { dx: curve.symbol ? 4 : 0 }, curve.words));
  const value = svg("text", { class: "value", x: right, y: box.top + 10, "text-anchor": "end" });
  const dot = svg("circle", { class: "dot", r: 3.5, visibility: "hidden" });
  root.append(title, value, dot);

  return {
    root,
    top,
    bottom,
    y,
    /** Mark the i-th value and show `text`; remove the mark if i is null. */
    point(i, text) {
      value.textContent = i === null ? "" : text;
      set(dot, { visibility: i === null ? "hidden" : "visible" });
      if (i !== null) set(dot, { cx: x(times[i]), cy: y(curve.values[i]) });
    },
  };
}
