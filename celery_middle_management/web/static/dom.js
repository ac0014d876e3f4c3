// Makes and changes elements. Text only ever becomes text: no name can become markup.

export const $ = (id) => document.getElementById(id);

/** Makes an element with a class and children, which are elements or text. */
export function make(tag, name = "", ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

/** Sets a text if it is another one, so that screen readers are not told of no change. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

const drawn = new WeakMap();

/** Makes an element's children anew if what they tell has changed. */
export function fill(element, told, children) {
  const key = JSON.stringify(told);
  if (drawn.get(element) === key) return;
  drawn.set(element, key);
  element.replaceChildren(...children());
}
