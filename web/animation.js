// Shows an animation inside its node right away.
//
// The editor lays the animation over the canvas and moves it to its node on the next redraw. If the
// animation arrives last, no redraw follows, and it covers the page until the canvas is moved. So we
// request another redraw.

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
      // The page has the picture after two frames.
      if (shows && !shown) {
        requestAnimationFrame(() => requestAnimationFrame(() => node.setDirtyCanvas(true, true)));
      }
      shown = shows;
    });
  },
});
