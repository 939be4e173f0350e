// Formats numbers for display.

/** Three significant digits: 0.0313, 12.5, 4.1e-8. */
export function short(value) {
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e5) {
    return value.toExponential(2).replace(/\.?0*e/, "e").replace("e+", "e");
  }
  return String(Number(value.toPrecision(3)));
}

/** 35.7 M */
export function large(number) {
  return number < 1e6 ? String(number) : `${short(number / 1e6)} M`;
}
