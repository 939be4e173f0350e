// An animation stands in its place as soon as it is shown.
//
// The editor lays the moving picture over the canvas and moves it to its node at the next drawing.
// Where the picture is the last to arrive there is none, and it covers the page until somebody
// moves the canvas. So one more drawing is asked for.

import { app } from "../../scripts/app.js";
import { chain } from "./chain.js";

const NODE = "UnconditionalImageOutput";
const PREVIEW = "$$comfy_animation_preview";

app.registerExtension({
  name: "Unconditional.Animation",

  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    let shown = false;
    chain(node, "onDrawBackground", () => {
      const shows = Boolean(node.widgets?.some((widget) => widget.name === PREVIEW));
      // Two frames on, the page has the picture.
      if (shows && !shown) {
        requestAnimationFrame(() => requestAnimationFrame(() => node.setDirtyCanvas(true, true)));
      }
      shown = shows;
    });
  },
});
