// Brush, polygon and relabelling, by pointer and by keyboard.

import {$, drawn} from './dom.js';
import * as map from './labels.js';
import * as view from './view.js';

const CLICK = 4;  // Pixels that a hand trembles.
const tool = {name: 'choose', classId: 0, size: 12};
let handlers = {done: () => {}, pick: () => {}};
let corners = [];
let cursor = null;  // Of the keyboard, in pixels of the map.
let last = null;  // Where the brush was.
let moved = false;
const fingers = new Map();

export function begin() {
  corners = [];
  cursor = last = null;
  fingers.clear();
  view.fit();
  show();
}

export const chosenClass = () => tool.classId;

export function chooseClass(id) {
  tool.classId = id;
  show();
}

export function chooseTool(name) {
  tool.name = name;
  corners = [];
  for (const input of document.querySelectorAll('input[name=tool]')) {
    input.checked = input.value === name;
  }
  $('stage').dataset.tool = name;
  $('brush-part').hidden = name !== 'brush';
  $('close-polygon').hidden = $('drop-polygon').hidden = name !== 'polygon';
  show();
}

// The corners of a polygon, and the brush or the cursor of the keyboard.
function show(where = cursor) {
  $('close-polygon').disabled = corners.length < 3;
  $('drop-polygon').disabled = !corners.length;
  const parts = [];
  if (corners.length) {
    const points = [...corners, ...(where ? [where] : [])].map(({x, y}) => `${x},${y}`);
    parts.push(drawn('polygon', {points: points.join(' ')}));
  }
  if (where && (tool.name === 'brush' || where === cursor)) {
    const size = tool.name === 'brush' ? tool.size : 8 / view.scale();
    parts.push(drawn('circle', {cx: where.x, cy: where.y, r: size / 2}));
  }
  $('drawing').replaceChildren(...parts);
}

function finish() {
  if (map.isOpen()) handlers.done();
}

function brushTo(where) {
  map.put(map.stroke(last || where, where, tool.size), () => tool.classId);
  last = where;
}

export function closePolygon() {
  if (corners.length > 2) map.put(map.polygon(corners), () => tool.classId);
  corners = [];
  show();
  finish();
}

export function dropPolygon() {
  corners = [];
  show();
}

function touch(where) {
  if (tool.name === 'polygon') {
    const far = corners.length > 2 &&
      Math.hypot(where.x - corners[0].x, where.y - corners[0].y) * view.scale();
    if (far !== false && far < 2 * CLICK) closePolygon();
    else {
      corners.push(where);
      show(where);
    }
  } else if (tool.name === 'relabel') {
    map.put(map.patch(where), () => tool.classId);
    finish();
  } else if (tool.name === 'brush') {
    last = null;
    brushTo({x: where.x + 0.5, y: where.y + 0.5});  // By keyboard: the pixel's middle.
    last = null;
    finish();
  } else handlers.pick(where);
}

// Pointers: one paints or moves, two zoom

function down(event) {
  if (event.button > 1) return;
  fingers.set(event.pointerId, event);
  moved = false;
  cursor = null;
  if (fingers.size > 1) {
    map.cancel();
    last = null;
  } else if (tool.name === 'brush' && event.button === 0) {
    $('stage').setPointerCapture(event.pointerId);
    brushTo(view.placeOf(event));
  }
  if (event.button === 1) event.preventDefault();
}

function move(event) {
  const before = fingers.get(event.pointerId);
  if (!before) {
    if (event.pointerType === 'mouse') show(view.placeOf(event));
    return;
  }
  if (fingers.size > 1) pinch(event, before);
  else if (last) {
    for (const one of event.getCoalescedEvents?.() || []) brushTo(view.placeOf(one));
    brushTo(view.placeOf(event));
    show(view.placeOf(event));
  } else {
    const [x, y] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (!moved && Math.hypot(x, y) < CLICK) return;
    const isMoving = tool.name === 'choose' || before.buttons === 4;
    moved = moved || isMoving;
    if (!isMoving || !view.isZoomed()) return;
    $('stage').setPointerCapture(event.pointerId);
    view.moveBy(x, y);
  }
  fingers.set(event.pointerId, event);
}

function pinch(event, before) {
  moved = true;
  const [other] = [...fingers.values()].filter(one => one.pointerId !== event.pointerId);
  const far = one => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
  const middle = [(event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2];
  view.moveBy((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
  if (far(before) > 0) view.zoomBy(far(event) / far(before), ...middle);
}

function up(event) {
  fingers.delete(event.pointerId);
  if (event.type === 'pointercancel') map.cancel();
  last = null;
  finish();
}

// The keyboard: arrows lead a cursor over the picture

function key(event) {
  const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1],
    ArrowDown: [0, 1]};
  if (event.key in steps && !event.ctrlKey && !event.metaKey) {
    const {width, height} = map.labels;
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(width / 64));
    const from = cursor || {x: Math.floor(width / 2), y: Math.floor(height / 2)};
    const [x, y] = steps[event.key];
    cursor = {x: Math.max(0, Math.min(width - 1, from.x + x * step)),
      y: Math.max(0, Math.min(height - 1, from.y + y * step))};
    view.reveal(cursor);
    show();
  } else if (event.key === ' ' && cursor) touch(cursor);
  else if (event.key === 'Enter' && corners.length) closePolygon();
  else if (event.key === 'Backspace' && corners.length) {
    corners.pop();
    show();
  } else return;
  event.preventDefault();
}

export function listen(given) {
  handlers = given;
  const stage = $('stage');
  stage.addEventListener('pointerdown', down);
  stage.addEventListener('pointermove', move);
  stage.addEventListener('pointerup', up);
  stage.addEventListener('pointercancel', up);
  stage.addEventListener('pointerleave', () => show());
  stage.addEventListener('keydown', key);
  stage.addEventListener('blur', () => {
    cursor = null;
    show();
  });
  stage.addEventListener('click', event => {
    if (!moved && tool.name !== 'brush') touch(view.placeOf(event));
  });
  stage.addEventListener('wheel', event => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    view.zoomBy(Math.exp(-event.deltaY / 200), event.clientX, event.clientY);
  }, {passive: false});
  for (const input of document.querySelectorAll('input[name=tool]')) {
    input.onchange = () => chooseTool(input.value);
  }
  $('brush').oninput = () => {
    tool.size = Number($('brush').value);
    $('brush-words').textContent = `${tool.size} px`;
  };
  $('brush').oninput();
  $('close-polygon').onclick = closePolygon;
  $('drop-polygon').onclick = dropPolygon;
  $('zoom-in').onclick = () => view.zoomBy(1.5);
  $('zoom-out').onclick = () => view.zoomBy(1 / 1.5);
  $('zoom-fit').onclick = view.fit;
  chooseTool('choose');
}

export function resizeBrush(factor) {
  $('brush').value = Math.round(tool.size * factor) + (factor > 1 ? 1 : -1);
  $('brush').oninput();
  show();
}
