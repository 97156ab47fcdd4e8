// Elements of the page, and words.

export const $ = id => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function drawn(tag, attributes = {}) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.05) return '< 0.1 %';
  return `${value.toFixed(value > 0 && value < 0.95 ? 1 : 0)} %`;
}

export const plural = (number, one, many) => `${number} ${number === 1 ? one : many}`;

export const swatch = color =>
  element('span', {class: 'swatch', style: `background:rgb(${color})`});

// A native radio button under what it looks like, so that the arrow keys work.
export function choice(group, value, isChosen, words, content, onChoice) {
  const input = element('input', {type: 'radio', name: group, value, 'aria-label': words});
  input.checked = isChosen;
  input.onchange = () => onChoice();
  return element('label', {class: 'choice', title: words}, input,
    element('span', {}, ...content));
}
