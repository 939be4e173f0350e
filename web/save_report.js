// Save Unconditional UNet shows where the model was saved.

import { showNote } from "./note.js";
import { showResults } from "./results.js";

showResults({
  name: "Unconditional.SaveReport",
  shows: (nodeId) => nodeId === "UnconditionalUNetSave",
  key: "text",
  show: (node, texts) => showNote(node, [texts.join(" ")], { wraps: true }),
});
