// The words that our scripts show, in the editor's language: locales/<language>/main.json, key
// "unconditional", which the host serves together with those of all packs.

import { FALLBACK, language, translations } from "./translations.js";

/**
 * @typedef {(name: string, values?: Record<string, string | number>) => string} Say
 * "group.name" -> its text with {value} filled in. Where values has a count `n`, the text may
 * stand under name_one, name_other, … as the language's plurals want it.
 */

/**
 * Words for the language of this moment.
 * @returns {Promise<Say>}
 */
export async function words() {
  const all = await translations;
  const spoken = language();
  const order = [all[spoken]?.unconditional, all[FALLBACK]?.unconditional].filter(Boolean);
  const plural = rules(spoken);
  return (name, values = {}) => {
    const [group, key] = name.split(".");
    const count = Number(values.n);
    const names = [`${key}_${plural.select(Number.isFinite(count) ? count : 0)}`, `${key}_other`, key];
    for (const table of order) {
      const found = names.find((each) => typeof table[group]?.[each] === "string");
      if (found) return fill(table[group][found], values);
    }
    return Object.values(values).join(" ");
  };
}

function rules(spoken) {
  try {
    return new Intl.PluralRules(spoken);
  } catch {
    return new Intl.PluralRules(FALLBACK);
  }
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}
