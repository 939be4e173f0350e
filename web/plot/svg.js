// Creates SVG elements.

const NAMESPACE = "http://www.w3.org/2000/svg";

/** A new element with these attributes and children (elements, or text). */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(NAMESPACE, tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
}

/** A path through points, each [x, y]. */
export function path(points, attributes) {
  const d = points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`).join("");
  return svg("path", { d, fill: "none", ...attributes });
}

/** A symbol with the subscript t, as in "ᾱ" and "β". */
export function withIndex(letter, attributes) {
  const index = svg("tspan", { dy: 3, "font-size": "75%" }, "t");
  // Return to the baseline.
  return svg("tspan", attributes, letter, index, svg("tspan", { dy: -3 }, "\u200b"));
}
