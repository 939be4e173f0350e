// A few quiet lines of text at the bottom of a node.

import { addElement } from "./dom_widget.js";

const LINE = 16;
const WIDGET = "unconditional_report";

/**
 * Show these lines in a node, in place of those before.
 * @param {object} node
 * @param {string[]} lines
 * @param {object} [options]
 * @param {string} [options.more] - what shows when the mouse is over them
 * @param {number} [options.rows] - to make room for, where lines wrap
 */
export function showNote(node, lines, { more = lines.join("\n"), rows } = {}) {
  const note = noteOf(node, rows ?? lines.length);
  if (!note) return;
  note.classList.toggle("unconditional-wraps", rows !== undefined);
  note.replaceChildren(
    ...lines.map((text) => {
      const line = document.createElement("div");
      line.textContent = text;
      return line;
    }),
  );
  note.title = more;
  node.setDirtyCanvas?.(true, true);
}

/** The node's note, made when it first has something to say. */
function noteOf(node, rows) {
  const before = node.widgets?.find((widget) => widget.name === WIDGET);
  if (before) return before.element;
  const element = document.createElement("div");
  element.className = "unconditional-report";
  const height = rows * LINE + 20;
  element.style.minHeight = `${rows * LINE}px`;
  if (!addElement(node, WIDGET, element, { min: height, max: height })) return null;
  const [width, least] = node.computeSize();
  if (node.size[1] < least) node.setSize([Math.max(width, node.size[0]), least]);
  return element;
}
