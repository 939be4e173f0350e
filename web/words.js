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
  return (name, values = {}) => {
    const [group, key] = name.split(".");
    const count = Number(values.n);
    for (const each of [spoken, FALLBACK]) {
      const table = all[each]?.unconditional?.[group];
      if (!table) continue;
      // As this table's language counts: 0 is singular in French, and our words may be English.
      const plural = new Intl.PluralRules(each).select(Number.isFinite(count) ? count : 0);
      const found = [`${key}_${plural}`, `${key}_other`, key].find((form) => form in table);
      if (found) return fill(table[found], values);
    }
    return Object.values(values).join(" ");
  };
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}
