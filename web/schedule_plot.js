// Show Schedule plots a noise schedule in the node.

import { chain } from "./chain.js";
import { addElement } from "./dom_widget.js";
import { drawSchedule } from "./plot/schedule.js";
import { showResults } from "./results.js";
import { words } from "./words.js";

const NODE = "UnconditionalShowSchedule";
const WIDGET = "unconditional_schedule";
const SIZE = [440, 520];
const MIN_HEIGHT = 260;

showResults({
  name: "Unconditional.SchedulePlot",
  shows: (nodeId) => nodeId === NODE,
  key: "unconditional_schedule",
  created: addPlot,
  show: (node, [report]) => {
    const plot = node.widgets?.find((widget) => widget.name === WIDGET)?.element;
    plot?.drawUnconditional?.(JSON.parse(report));
  },
});

function addPlot(node) {
  const element = document.createElement("div");
  element.className = "unconditional-plot unconditional-schedule";
  if (!addElement(node, WIDGET, element, { min: MIN_HEIGHT })) return;
  node.setSize(SIZE.map((side, i) => Math.max(side, node.size[i])));

  let schedule = null;
  let drawn = null;

  async function draw() {
    const say = await words();
    const { clientWidth: width, clientHeight: height } = element;
    if (!schedule) {
      element.replaceChildren(hint(say("schedule.hint")));
    } else if (width && height) {
      drawn = drawSchedule(schedule, width, height, say);
      element.replaceChildren(drawn.root);
    }
  }

  element.drawUnconditional = (given) => {
    schedule = given;
    void draw();
  };
  element.addEventListener("pointermove", ({ clientX }) => {
    // The size on the page depends on the zoom of the canvas.
    const { left, width } = element.getBoundingClientRect();
    drawn?.point(((clientX - left) * element.clientWidth) / width);
  });
  element.addEventListener("pointerleave", () => drawn?.point(null));

  const sized = new ResizeObserver(draw);
  sized.observe(element);
  chain(node, "onAdded", () => sized.observe(element));
  chain(node, "onRemoved", () => sized.disconnect());
}

function hint(text) {
  const element = document.createElement("div");
  element.className = "unconditional-hint";
  element.textContent = text;
  return element;
}
