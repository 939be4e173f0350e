// A display-only element in a node: it is not saved, and the wheel and the middle and right buttons
// act on the canvas below it.

import { app } from "../../scripts/app.js";
import { addStyle } from "./style.js";

/**
 * @param {object} node
 * @param {string} name - of the widget
 * @param {HTMLElement} element
 * @param {{min: number, max?: number}} height - of the widget, in pixels of the graph; later changes
 *   to this object apply
 * @returns {object | null} the widget; null if this editor does not support such widgets
 */
export function addElement(node, name, element, height) {
  if (typeof node.addDOMWidget !== "function") return null;
  addStyle();
  const options = { serialize: false, hideOnZoom: false, margin: 8, getMinHeight: () => height.min };
  if (height.max !== undefined) options.getMaxHeight = () => height.max;
  const widget = node.addDOMWidget(name, name, element, options);
  widget.serialize = false;
  letThrough(element);
  return widget;
}

/** Whether the editor draws nodes as page elements (Nodes 2.0), which handle the mouse themselves. */
export function nodesAreElements() {
  return Boolean(globalThis.LiteGraph?.vueNodesMode);
}

function letThrough(element) {
  element.addEventListener(
    "wheel",
    (event) => {
      if (nodesAreElements() || !app.canvas?.processMouseWheel) return;
      event.preventDefault();
      event.stopPropagation();
      app.canvas.processMouseWheel(event);
    },
    { passive: false },
  );

  // The canvas then captures the pointer until the button is released. Left clicks are not passed on:
  // the editor selects the node when its element is clicked.
  element.addEventListener("pointerdown", (event) => {
    if (event.button === 1 || (event.button === 2 && !nodesAreElements())) {
      app.canvas?.processMouseDown?.(event);
    }
  });

  element.addEventListener("contextmenu", (event) => {
    if (!nodesAreElements()) event.preventDefault();
  });
}
