// Maps values to pixels, and chooses the ticks of an axis.

import { short } from "../numbers.js";

/** @typedef {{(value: number): number, ticks: {value: number, label: string}[]}} Scale */

/**
 * @returns {Scale} maps low..high to pixels from..to, with about `count` ticks at least `apart` from
 * each other
 */
export function linear(low, high, from, to, count, apart = 0) {
  const span = high - low || 1;
  const scale = (value) => from + ((value - low) / span) * (to - from);
  const step = Math.max(apart, roundStep(span / count));
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  scale.ticks = [];
  // 0.02 in float32 is slightly smaller.
  for (let k = Math.ceil(low / step - 1e-6); k * step <= high + 1e-6 * span; k++) {
    const value = k * step;
    scale.ticks.push({ value, label: decimals > 4 ? short(value) : value.toFixed(decimals) });
  }
  return scale;
}

/**
 * @returns {Scale} maps powers of ten low..high to pixels from..to; values outside, including 0 and
 * infinity, are put at the edge
 */
export function logarithmic(low, high, from, to, count) {
  const scale = (value) => {
    const power = Math.min(high, Math.max(low, Math.log10(value)));
    return from + ((power - low) / (high - low || 1)) * (to - from);
  };
  const step = Math.max(1, Math.ceil((high - low) / count));
  scale.ticks = [];
  // Multiples of the step, so that 10⁰ gets a tick.
  for (let power = Math.ceil(low / step) * step; power <= high; power += step) {
    scale.ticks.push({ value: 10 ** power, label: `10${raised(power)}` });
  }
  return scale;
}

/**
 * @returns {Scale} maps low..high, which are positive, to pixels from..to on a logarithmic scale;
 * it has ticks even if there is no power of ten between them
 */
export function narrowLogarithmic(low, high, from, to, count) {
  // A margin, also around a single value.
  const [least, most] = [low / 1.1, high * 1.1];
  const scale = logarithmic(Math.log10(least), Math.log10(most), from, to, count);
  for (const factors of [[1, 2, 5], [1, 3], [1]]) {
    const values = inDecades(factors, least, most);
    if (values.length > count) continue;
    if (values.length < 2) scale.ticks = linear(least, most, from, to, Math.min(count, 3)).ticks;
    else scale.ticks = values.map((value) => ({ value, label: short(value) }));
    break;
  }
  return scale;
}

/** The products of these factors and powers of ten from low to high. */
function inDecades(factors, low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
    found.push(...factors.map((factor) => factor * 10 ** power));
  }
  return found.filter((value) => value >= low && value <= high);
}

/** The powers of ten around these values, limited to 10^±limit, where 0 and infinity are. */
export function decades(values, limit = 10) {
  const powers = values.filter((v) => v > 0 && Number.isFinite(v)).map((v) => Math.log10(v));
  const within = (power) => Math.min(limit, Math.max(-limit, power));
  const low = within(Math.floor(Math.min(0, ...powers)));
  const high = within(Math.ceil(Math.max(0, ...powers)));
  return low < high ? [low, high] : [-1, 1];
}

/** 1, 2 or 5 times a power of ten, near `step`. */
function roundStep(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  const bounds = { 1: 1.5, 2: 3.5, 5: 7.5, 10: Infinity };
  return power * [1, 2, 5, 10].find((factor) => step < bounds[factor] * power);
}

function raised(power) {
  const signs = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  const digits = [...String(Math.abs(power))].map((digit) => signs[Number(digit)]);
  return (power < 0 ? "⁻" : "") + digits.join("");
}
