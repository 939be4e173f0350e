// Page elements that our scripts show in nodes.

/** A new block with these classes. */
export function block(className) {
  const element = document.createElement("div");
  element.className = className;
  return element;
}

/** Show these lines of text, replacing the previous ones. */
export function fill(element, lines) {
  element.replaceChildren(
    ...lines.map((text) => {
      const line = document.createElement("div");
      line.textContent = text;
      return line;
    }),
  );
}
