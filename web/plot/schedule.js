// Draws a noise schedule: three stacked curves with a common time axis.

import { short } from "../numbers.js";
import { dots, strokes } from "./marks.js";
import { panel } from "./panel.js";
import { decades, linear, logarithmic } from "./scales.js";
import { set, svg } from "./svg.js";

const MARGIN = { left: 44, right: 12, top: 4, bottom: 44 };
const GAP = 8;

/** Time axis labels closer than this to the current one are hidden, in pixels. */
const COVERED = 60;

/** The share of the height of each curve. */
const SHARES = [0.4, 0.28, 0.32];

/**
 * @typedef {object} Schedule
 * @property {number} T - timesteps of the model
 * @property {number[]} t - those with values here, ascending
 * @property {number[]} alphas_cumprod
 * @property {number[]} betas
 * @property {number[]} timesteps - of the sampler, descending
 */

/**
 * Draw a schedule.
 * @param {Schedule} schedule
 * @param {number} width
 * @param {number} height
 * @param {import("../words.js").Say} say
 * @returns {{root: SVGElement, point: (x: number | null) => void}} the drawing, and a function
 *   that shows the values of the timestep at x pixels, or hides them
 */
export function drawSchedule(schedule, width, height, say) {
  const { T, t: times, timesteps } = schedule;
  const left = MARGIN.left;
  const right = Math.max(left + 40, width - MARGIN.right);
  const floor = Math.max(120, height - MARGIN.bottom);
  const count = Math.max(2, Math.floor((right - left) / 75));
  const x = linear(0, Math.max(1, T - 1), left, right, count, 1);
  const root = svg("svg", {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": say("schedule.drawing", { T }),
  });

  // The three curves.
  const room = floor - MARGIN.top - 2 * GAP;
  let top = MARGIN.top;
  const shown = curves(schedule, say);
  const panels = shown.map((curve, i) => {
    const bottom = top + room * SHARES[i];
    const drawn = panel(curve, times, x, { left, right, top, bottom });
    root.append(drawn.root);
    top = bottom + GAP;
    return drawn;
  });

  // The time axis and the sampler's timesteps.
  const names = x.ticks.map(({ value, label }) => {
    const at = { x: x(value), y: floor + 20 };
    const name = svg("text", { class: "tick", ...at, "text-anchor": "middle" }, label);
    return { at: at.x, name };
  });
  const alphas = schedule.alphas_cumprod;
  const onCurve = (t) => panels[0].y(alphas[nearest(times, t)]);
  root.append(...names.map(({ name }) => name));
  root.append(strokes(timesteps, x, floor), dots(timesteps, x, onCurve));
  const below = floor + 37;
  const all = say("schedule.marked", { n: timesteps.length });
  const counted = svg("text", { class: "marked", x: right, y: below, "text-anchor": "end" }, all);
  root.append(svg("text", { class: "tick", x: left, y: below }, say("schedule.timestep")), counted);

  // The values of one timestep. The line leaves out the titles, where the values are shown.
  const d = panels.map((each) => `M0 ${each.top}V${each.bottom}`).join("");
  const cross = svg("path", { class: "cross", d, fill: "none", visibility: "hidden" });
  const now = svg("text", { class: "now", y: floor + 20, "text-anchor": "middle" });
  root.append(cross, now);

  function point(at) {
    const i = at === null ? null : nearest(times, ((at - left) / (right - left)) * (T - 1));
    panels.forEach((each, k) => each.point(i, i === null ? "" : short(shown[k].values[i])));
    set(cross, { visibility: i === null ? "hidden" : "visible" });
    now.textContent = i === null ? "" : `t = ${times[i]}`;
    const step = i === null ? -1 : timesteps.indexOf(times[i]);
    const n = timesteps.length;
    counted.textContent = step < 0 ? all : say("schedule.step_of", { k: step + 1, n });
    const place = i === null ? NaN : x(times[i]);
    for (const each of names) {
      const covered = Math.abs(each.at - place) < COVERED;
      set(each.name, { visibility: covered ? "hidden" : "visible" });
    }
    if (i === null) return;
    set(cross, { transform: `translate(${place} 0)` });
    set(now, { x: Math.min(right - 20, Math.max(left + 20, place)) });
  }

  return { root, point };
}

/** @returns {import("./panel.js").Curve[]} */
function curves({ alphas_cumprod: alphas, betas }, say) {
  const snr = alphas.map((a) => a / (1 - a));
  const maximum = Math.max(...betas) || 1;
  const [low, high] = decades(snr);
  return [
    {
      name: "alphas-cumprod",
      symbol: "ᾱ",
      words: say("schedule.alphas_cumprod"),
      values: alphas,
      scale: (from, to, ticks) => linear(0, 1, from, to, ticks),
    },
    {
      name: "betas",
      symbol: "β",
      words: say("schedule.betas"),
      values: betas,
      scale: (from, to, ticks) => linear(0, maximum, from, to, ticks),
    },
    {
      name: "snr",
      symbol: "SNR",
      words: say("schedule.snr"),
      values: snr,
      scale: (from, to, ticks) => logarithmic(low, high, from, to, ticks),
    },
  ];
}

/** The index of the closest value in an ascending list. */
function nearest(ascending, value) {
  let low = 0;
  let high = ascending.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ascending[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low && value - ascending[low - 1] < ascending[low] - value ? low - 1 : low;
}
