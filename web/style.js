// Adds our style sheet to the page when a node first needs it.

let added = false;

export function addStyle() {
  if (added) return;
  added = true;
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("unconditional.css", import.meta.url).href;
  document.head.append(link);
}
