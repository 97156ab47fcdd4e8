// What part of the picture is seen: zooming and moving it.

import {$} from './dom.js';
import {labels} from './labels.js';

const MAX_ZOOM = 32;
// Of the stage: how much larger the picture is, and where it begins.
const view = {zoom: 1, x: 0, y: 0};

function show() {
  const clip = value => Math.min(0, Math.max(1 - view.zoom, value));
  view.x = clip(view.x);
  view.y = clip(view.y);
  const {style} = $('layers');
  style.left = `${100 * view.x}%`;
  style.top = `${100 * view.y}%`;
  style.width = style.height = `${100 * view.zoom}%`;
  $('stage').classList.toggle('zoomed', view.zoom > 1);
  $('zoom-words').textContent = `${Math.round(100 * view.zoom)} %`;
  $('zoom-out').disabled = view.zoom <= 1;
}

export const isZoomed = () => view.zoom > 1;

export function fit() {
  Object.assign(view, {zoom: 1, x: 0, y: 0});
  show();
}

// Zooms about a point of the window; about the middle by default.
export function zoomBy(factor, clientX, clientY) {
  const box = $('stage').getBoundingClientRect();
  const x = clientX === undefined ? 0.5 : (clientX - box.left) / box.width;
  const y = clientY === undefined ? 0.5 : (clientY - box.top) / box.height;
  const zoom = Math.max(1, Math.min(MAX_ZOOM, view.zoom * factor));
  view.x = x - (x - view.x) * zoom / view.zoom;
  view.y = y - (y - view.y) * zoom / view.zoom;
  view.zoom = zoom;
  show();
}

export function moveBy(pixelsX, pixelsY) {
  const box = $('stage').getBoundingClientRect();
  view.x += pixelsX / box.width;
  view.y += pixelsY / box.height;
  show();
}

// Returns where an event is, in pixels of the map.
export function placeOf({clientX, clientY}) {
  const box = $('layers').getBoundingClientRect();
  return {x: (clientX - box.left) / box.width * labels.width,
    y: (clientY - box.top) / box.height * labels.height};
}

// Moves the picture so that a pixel of the map is seen.
export function reveal({x, y}) {
  const shown = (value, length, start) => {
    const at = start + value / length * view.zoom;
    return at < 0 ? start - at : at > 1 ? start + 1 - at : start;
  };
  view.x = shown(x, labels.width, view.x);
  view.y = shown(y, labels.height, view.y);
  show();
}

// Screen pixels of one pixel of the map.
export const scale = () => $('layers').getBoundingClientRect().width / labels.width;
