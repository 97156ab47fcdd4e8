// The map of class ids that is corrected: its pixels, how it is painted, and its history.

import {$} from './dom.js';

// Pixels of all changes that can be undone; older ones are forgotten.
const MAX_KEPT = 40e6;

export const labels = {width: 0, height: 0, ids: new Uint8Array(0)};
const colors = new Uint32Array(256);
let image = null;
let pixels = null;
let current = [];
let past = [];
let future = [];

export function setColors(classes) {
  // Black is not shown, what is not labelled is grey. Bytes are alpha, blue, green, red.
  colors.fill(0);
  for (const {id, shown_color: [red, green, blue]} of classes) {
    if (red + green + blue) colors[id] = (0xff << 24 | blue << 16 | green << 8 | red) >>> 0;
  }
  colors[255] = 0xff808080;
}

export function begin(width, height) {
  Object.assign(labels, {width, height, ids: new Uint8Array(width * height)});
  Object.assign($('labels'), {width, height});
  image = new ImageData(width, height);
  pixels = new Uint32Array(image.data.buffer).fill(colors[0]);
  $('labels').getContext('2d').putImageData(image, 0, 0);
  [current, past, future] = [[], [], []];
}

function write(places, ids) {
  let [first, last] = [labels.height, -1];
  for (let i = 0; i < places.length; i++) {
    const place = places[i];
    labels.ids[place] = ids[i];
    pixels[place] = colors[ids[i]];
    const row = Math.floor(place / labels.width);
    if (row < first) first = row;
    if (row > last) last = row;
  }
  if (last < first) return;
  const context = $('labels').getContext('2d');
  context.putImageData(image, 0, 0, 0, first, labels.width, last - first + 1);
}

// Gives pixels a class; `idOf` tells it of each.
export function put(places, idOf) {
  const changed = places.filter(place => labels.ids[place] !== idOf(place));
  if (!changed.length) return;
  const change = {
    places: Uint32Array.from(changed),
    before: Uint8Array.from(changed, place => labels.ids[place]),
    after: Uint8Array.from(changed, idOf),
  };
  write(change.places, change.after);
  current.push(change);
}

// Takes the pixels of another map, all or those of a region.
export function putMap(ids, region = null) {
  const places = [];
  for (let place = 0; place < ids.length; place++) {
    if (ids[place] !== labels.ids[place] && (!region || region[place])) places.push(place);
  }
  put(places, place => ids[place]);
}

export const isOpen = () => current.length > 0;

// Makes what was put one step of the history; `note` goes with it.
export function commit(note) {
  past.push({changes: current, note});
  [current, future] = [[], []];
  const size = step => step.changes.reduce((sum, {places}) => sum + places.length, 0);
  let kept = past.reduce((sum, step) => sum + size(step), 0);
  while (kept > MAX_KEPT && past.length > 1) kept -= size(past.shift());
}

export function restart() {
  // What stands there now is the beginning.
  [current, past, future] = [[], [], []];
}

function revert(changes) {
  for (const {places, before} of [...changes].reverse()) write(places, before);
}

export function cancel() {
  revert(current);
  current = [];
}

export const canUndo = () => past.length > 0;
export const canRedo = () => future.length > 0;

export function undo() {
  const step = past.pop();
  if (!step) return null;
  revert(step.changes);
  future.push(step);
  return step.note;
}

export function redo() {
  const step = future.pop();
  if (!step) return null;
  for (const {places, after} of step.changes) write(places, after);
  past.push(step);
  return step.note;
}

// Which pixels

const scratch = document.createElement('canvas').getContext('2d',
  {willReadFrequently: true});

// Returns the pixels that `draw` covers by half, within a margin around points.
function covered(points, margin, draw) {
  const clip = (value, most) => Math.max(0, Math.min(most, value));
  const sides = name => points.map(point => point[name]);
  const left = clip(Math.floor(Math.min(...sides('x')) - margin), labels.width);
  const right = clip(Math.ceil(Math.max(...sides('x')) + margin), labels.width);
  const top = clip(Math.floor(Math.min(...sides('y')) - margin), labels.height);
  const bottom = clip(Math.ceil(Math.max(...sides('y')) + margin), labels.height);
  const [width, height] = [right - left, bottom - top];
  if (width < 1 || height < 1) return [];
  Object.assign(scratch.canvas, {width, height});  // Clears it.
  scratch.translate(-left, -top);
  draw(scratch);
  const {data} = scratch.getImageData(0, 0, width, height);
  const found = [];
  for (let i = 0; i < width * height; i++) {
    if (data[4 * i + 3] > 127) {
      found.push((top + Math.floor(i / width)) * labels.width + left + i % width);
    }
  }
  return found;
}

export function stroke(from, to, size) {
  return covered([from, to], size / 2 + 1, context => {
    context.lineWidth = size;
    context.lineCap = 'round';
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
    for (const {x, y} of [from, to]) {
      context.beginPath();
      context.arc(x, y, size / 2, 0, 7);
      context.fill();
      context.fillRect(Math.floor(x), Math.floor(y), 1, 1);
    }
  });
}

export function polygon(points) {
  return covered(points, 1, context => {
    context.beginPath();
    for (const {x, y} of points) context.lineTo(x, y);
    context.fill('evenodd');
  });
}

// Returns the connected pixels of one class around a place, row by row.
export function patch({x, y}) {
  const {width, height, ids} = labels;
  const [column, row] = [Math.floor(x), Math.floor(y)];
  if (column < 0 || row < 0 || column >= width || row >= height) return [];
  const id = ids[row * width + column];
  const seen = new Uint8Array(ids.length);
  const waiting = [row * width + column];
  const found = [];
  while (waiting.length) {
    let place = waiting.pop();
    if (seen[place]) continue;
    const start = place - place % width;
    const isFree = one => ids[one] === id && !seen[one];
    while (place > start && isFree(place - 1)) place--;
    const open = [false, false];
    for (; place < start + width && isFree(place); place++) {
      seen[place] = 1;
      found.push(place);
      [place - width, place + width].forEach((next, side) => {
        const isIn = next >= 0 && next < ids.length && isFree(next);
        if (isIn && !open[side]) waiting.push(next);
        open[side] = isIn;
      });
    }
  }
  return found;
}
