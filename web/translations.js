// What the host serves of locales/<language>/*.json, of all packs together, and the editor's
// language.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

export const FALLBACK = "en";

/** Promise of: language -> the keys of its main.json, and nodeDefs; empty where the host has none. */
export const translations = load();

async function load() {
  try {
    const response = await api.fetchApi("/i18n");
    return response.ok ? await response.json() : {};
  } catch {
    return {};
  }
}

/** The editor's language, such as "en" or "zh". */
export function language() {
  const settings = app.extensionManager?.setting ?? app.ui?.settings;
  try {
    return settings?.get?.("Comfy.Locale") ?? settings?.getSettingValue?.("Comfy.Locale") ?? FALLBACK;
  } catch {
    return FALLBACK;
  }
}
