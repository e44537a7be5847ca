// Small shorthands over the DOM. Text only ever enters through `textContent`: nothing that came from a peer is parsed as HTML.

export function byId(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element;
}

/** An element with classes, text and children. */
export function make(tag, classes = '', ...content) {
  const element = document.createElement(tag);
  if (classes !== '') element.className = classes;
  element.append(...content);
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** "1 message", "7 messages". */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
