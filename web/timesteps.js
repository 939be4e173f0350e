// Formats lists of timesteps.

const SHORT = { head: 3, tail: 2 };
const LONG = { head: 200, tail: 50 };

/** "980, 960, 940 … 20, 0": the first and the last of a list. */
export const briefly = (times) => list(times, SHORT);

/** The whole list, unless it is very long. */
export const fully = (times) => list(times, LONG);

function list(times, { head, tail }) {
  if (times.length <= head + tail + 1) return times.join(", ");
  return `${times.slice(0, head).join(", ")} … ${times.slice(-tail).join(", ")}`;
}
