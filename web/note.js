// A few lines of small text at the bottom of a node.

import { chain } from "./chain.js";
import { addElement } from "./dom_widget.js";
import { block, fill } from "./elements.js";

const LINE = 16;
const WIDGET = "unconditional_report";

/**
 * Show these lines in a node, replacing the previous ones.
 * @param {object} node
 * @param {string[]} lines
 * @param {object} [options]
 * @param {string} [options.more] - the tooltip
 * @param {boolean} [options.wraps] - whether long lines are wrapped; the node grows to fit
 */
export function showNote(node, lines, { more = lines.join("\n"), wraps = false } = {}) {
  const note = noteOf(node, lines.length);
  if (!note) return;
  note.classList.toggle("unconditional-wraps", wraps);
  fill(note, lines);
  note.title = more;
  if (wraps) grow(note);
  node.setDirtyCanvas?.(true, true);
}

/** The node's note, created on first use. */
function noteOf(node, rows) {
  const before = node.widgets?.find((widget) => widget.name === WIDGET);
  if (before) return before.element;
  const element = block("unconditional-report");
  const height = {};
  const makeRoom = (pixels) => {
    height.min = height.max = pixels + 20;
    element.style.minHeight = `${pixels}px`;
  };
  makeRoom(rows * LINE);
  if (!addElement(node, WIDGET, element, height)) return null;
  let grown = null; // the height set here, unless the user has changed it since
  const fit = () => {
    const [width, least] = node.computeSize();
    if (node.size[1] >= least && node.size[1] !== grown) return;
    node.setSize([Math.max(width, node.size[0]), least]);
    grown = least;
  };
  fit();
  // Line wrapping is only known once displayed, and it changes with the node's width.
  element.unconditionalSized = new ResizeObserver(() => {
    const needed = [...element.children].reduce((sum, line) => sum + line.offsetHeight, 0);
    if (!needed || needed + 20 === height.min) return;
    makeRoom(needed);
    fit();
    node.setDirtyCanvas?.(true, true);
  });
  chain(node, "onRemoved", () => element.unconditionalSized.disconnect());
  return element;
}

function grow(note) {
  note.unconditionalSized.disconnect();
  for (const line of note.children) note.unconditionalSized.observe(line);
}
