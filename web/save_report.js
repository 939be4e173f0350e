// Save Unconditional UNet says where the model went.

import { showNote } from "./note.js";
import { showResults } from "./results.js";

showResults({
  name: "Unconditional.SaveReport",
  shows: (nodeId) => nodeId === "UnconditionalUNetSave",
  key: "text",
  show: (node, texts) => showNote(node, [texts.join(" ")], { wraps: true }),
});
