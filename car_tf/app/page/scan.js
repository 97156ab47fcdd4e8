// The image that is open, as it is seen: scans have slices and a window.

import {$} from './dom.js';
import {state} from './found.js';
import * as queue from './queue.js';

// The window through which a scan is seen.
let scanWindow = null;

export const address = path => `/images/${state.found.key}/${path}`;

export function begin(view) {
  const {scan} = state.found;
  $('scan').hidden = !scan;
  scanWindow = null;
  if (!scan) return;
  $('slice-part').hidden = scan.count < 2;
  $('slice').max = scan.count - 1;
  $('slice').value = scan.index;
  $('slice-words').textContent = `Slice ${scan.index + 1} of ${scan.count}`;
  const [low, high] = scan.window;
  const [least, most] = [Math.min(scan.range[0], low), Math.max(scan.range[1], high)];
  const fine = (most - least) / 1000 || 1;
  for (const id of ['level', 'width']) $(id).step = 'any';
  Object.assign($('level'), {min: least, max: most, value: (low + high) / 2});
  Object.assign($('width'), {min: fine, max: 2 * (most - least) || 1, value: high - low});
  const own = 'low' in view ? { low: view.low, high: view.high } : {};
  $('slice').onchange = () => queue.again({index: $('slice').value, ...own});
  $('window-words').textContent =
    `The model saw ${number(low)} as black and ${number(high)} as white.`;
  $('window-redraw').disabled = true;
}

const number = value => Number(value.toPrecision(5)).toString();

function slideWindow() {
  const [level, width] = [Number($('level').value), Number($('width').value)];
  scanWindow = {low: level - width / 2, high: level + width / 2};
  $('window-redraw').disabled = false;
  showImage();
}

export function showPictures() {
  showImage();
  $('entropy').src = address('entropy.png');
}

function showImage() {
  const query = scanWindow ? `?${new URLSearchParams(scanWindow)}` : '';
  $('image').src = address(`image.jpg${query}`);
}

export function listen() {
  $('level').oninput = $('width').oninput = slideWindow;
  $('window-redraw').onclick = () =>
    queue.again({index: state.found.scan.index, ...scanWindow});
}
