// After a run, each sampler node shows its number of steps and evaluations, the time per image, and
// the timesteps that it visited.

import { showNote } from "./note.js";
import { short } from "./numbers.js";
import { showResults } from "./results.js";
import { briefly, fully } from "./timesteps.js";
import { words } from "./words.js";

showResults({
  name: "Unconditional.SamplerReport",
  // Any of this pack's nodes may return it.
  shows: (nodeId) => nodeId.startsWith("Unconditional"),
  key: "unconditional_run",
  show: async (node, [report]) => {
    const run = JSON.parse(report);
    const say = await words();
    if (node.graph) showNote(node, lines(say, run), { more: details(say, run), wraps: !!run.drift });
  },
});

function lines(say, run) {
  if (!run.steps) return [say("run.nothing"), ""];
  const done = [
    run.asked === null
      ? say("run.steps", { n: run.steps })
      : say("run.all_steps", { n: run.steps, asked: run.asked }),
    say("run.evaluations", { n: run.evaluations }),
    say("run.seconds", { n: short(run.seconds_per_image) }),
  ];
  const times = [`t = ${briefly(run.timesteps)}`];
  if (run.lost.length) times.unshift(say("run.lost", { seeds: briefly(run.lost) }));
  if (run.end !== null) times.push(say("run.noise_left", { t: run.end }));
  const doubts = run.drift ? [say(`run.${run.drift}`, { t: run.timesteps[0] })] : [];
  return [done.join(" · "), times.join(" · "), ...doubts];
}

function details(say, run) {
  const shown = lines(say, run);
  if (!run.steps) return shown[0];
  const times = say("run.all_timesteps", { list: fully(run.timesteps) });
  return [shown[0], times, ...shown.slice(2)].join("\n");
}
