// The lines of text about a run.

import { large, short } from "../numbers.js";

export const isRunning = (report) => report?.state === "reading" || report?.state === "training";

/**
 * @param {import("../words.js").Say} say
 * @param {import("./panel.js").Report | null} report
 * @param {import("./panel.js").Plan} plan
 */
export function factLines(say, report, plan) {
  const error = plan.error && !isRunning(report) ? `⚠ ${plan.error}` : "";
  const lines = [facts(say, report, plan), report && progress(say, report), error].filter(Boolean);
  return lines.length ? lines : [say("training.hint")];
}

/** The notes of a run, and further notes of the plan. */
export function noteLines(report, plan) {
  return [...new Set([...(report?.notes ?? []), ...(plan.notes ?? [])])];
}

/** The facts about the next run if it is known, otherwise about the last one. */
function facts(say, report, plan) {
  const isPlanned = !isRunning(report) && Object.keys(plan).length > 0;
  const { parameters, size, channels, memory, pictures } = isPlanned ? plan : (report ?? {});
  return [
    parameters && say("model.parameters", { number: large(parameters) }),
    size && `${size[1]} × ${size[0]}`,
    channels && say("model.channels", { n: channels }),
    memory && say("training.memory", { size: inBytes(memory) }),
    pictures && say("training.pictures", { n: pictures }),
  ]
    .filter(Boolean)
    .join(" · ");
}

/** The progress of a run; its name may be the next free one after the chosen one. */
function progress(say, report) {
  const { name, state } = report;
  const words = state === "training" ? pace(say, report) : stage(say, report);
  return name ? `${name}: ${words}` : words;
}

function stage(say, { state, step, steps, saved }) {
  // While it reads, the steps are pictures.
  if (state === "reading" && steps) return say("training.reading_of", { step, steps });
  const words = [say(`training.${state}`, { step })];
  if (state === "stopped" && step) words.push(say("training.kept", { step, steps }));
  const last = saved.at(-1);
  if (state === "failed" && last) words.push(say("training.last_saved", { step: last, steps }));
  return words.join(" ");
}

function pace(say, { step, steps, seconds_left: left, seconds_per_step: each }) {
  return [
    say("training.step", { step, steps }),
    left === null ? say("training.measuring") : timeLeft(say, left),
    each !== null && say("training.seconds_per_step", { seconds: short(each) }),
  ]
    .filter(Boolean)
    .join(" · ");
}

function timeLeft(say, seconds) {
  if (seconds < 59.5) return say("training.seconds_left", { n: Math.ceil(seconds) });
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return say("training.minutes_left", { n: minutes });
  return say("training.hours_left", { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
}

/** 240 MB, 1.5 GB */
function inBytes(number) {
  return number < 1e9 ? `${Math.max(1, Math.round(number / 1e6))} MB` : `${short(number / 1e9)} GB`;
}
