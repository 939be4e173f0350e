// Shows what a node says of its run: where a model was saved, how well its timesteps do, how near
// images are to a reference or, inverted and drawn again, to themselves.

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
