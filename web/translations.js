// The contents of locales/<language>/*.json, which the host serves for all packs, and the editor's
// language.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

export const FALLBACK = "en";

/** Promise of language -> the contents of main.json and nodeDefs; empty if the host has none. */
export const translations = load();

async function load() {
  try {
    const response = await api.fetchApi("/i18n");
    return response.ok ? await response.json() : {};
  } catch {
    return {};
  }
}

/** The editor's language, for example "en" or "zh". */
export function language() {
  const settings = app.extensionManager?.setting ?? app.ui?.settings;
  try {
    return settings?.get?.("Comfy.Locale") ?? settings?.getSettingValue?.("Comfy.Locale") ?? FALLBACK;
  } catch {
    return FALLBACK;
  }
}
