// The loss curve of a run, and the values at the mouse.

import { chain } from "../chain.js";
import { block } from "../elements.js";
import { drawLoss } from "../plot/loss.js";

/** The minimum height with the gap above it, in pixels. */
const LEAST = 156;

/** @returns the element, a function that draws a report, and the minimum height of what is shown */
export function addCurve(node) {
  const element = block("unconditional-plot unconditional-losses");
  element.hidden = true;
  let say = null;
  let run = { losses: [], saved: [] };
  let drawn = null;
  let mouse = null; // its place in the drawing

  function redraw() {
    const { clientWidth: width, clientHeight: height } = element;
    if (!run.losses.length || !width || !height) return;
    drawn = drawLoss(run, width, height, say);
    drawn.point(mouse);
    element.replaceChildren(drawn.root);
  }

  element.addEventListener("pointermove", ({ clientX }) => {
    // The size on the page depends on the zoom of the canvas.
    const { left, width } = element.getBoundingClientRect();
    mouse = ((clientX - left) * element.clientWidth) / width;
    drawn?.point(mouse);
  });
  element.addEventListener("pointerleave", () => {
    mouse = null;
    drawn?.point(null);
  });

  const sized = new ResizeObserver(redraw);
  sized.observe(element);
  chain(node, "onAdded", () => sized.observe(element));
  chain(node, "onRemoved", () => sized.disconnect());

  return {
    element,
    least: () => (element.hidden ? 0 : LEAST),
    draw(words, report) {
      say = words;
      // JSON has no NaN, and a logarithmic scale has no 0.
      const losses = report?.losses.filter(([, loss]) => loss > 0) ?? [];
      run = { losses, saved: report?.saved ?? [] };
      element.hidden = !losses.length;
      redraw();
    },
  };
}
