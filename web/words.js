// The texts that our scripts show, in the editor's language, from the key "unconditional" in
// locales/<language>/main.json.

import { FALLBACK, language, translations } from "./translations.js";

/**
 * @typedef {(name: string, values?: Record<string, string | number>) => string} Say
 * "group.name" -> its text with {value} filled in. If values has a count `n`, the key may be
 * name_one, name_other, … according to the language's plural rules.
 */

/**
 * Return the texts in the current language.
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
      // By the language of the table: 0 is singular in French, but the fallback is English.
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
