// Shows a node's report on its run: where a model was saved, how well its timesteps do, how close
// images are to a reference, or how close inverted images come to the originals.

import { showNote } from "./note.js";
import { showResults } from "./results.js";

const SHOWS = [
  "UnconditionalUNetSave",
  "UnconditionalOptimiseTimesteps",
  "UnconditionalGenerateMany",
  "UnconditionalCompareSets",
  "UnconditionalInvert",
];

showResults({
  name: "Unconditional.TextReport",
  shows: (nodeId) => SHOWS.includes(nodeId),
  key: "text",
  show: (node, texts) => showNote(node, texts, { wraps: true }),
});
