// Images that wait: those of the server's folder, and files that were dropped.

import {$, element} from './dom.js';
import {ask, fail, say, send} from './server.js';

const DOING = 'Drawing proposals …';
const queue = {items: [], at: -1};
let model = null;
let handlers = {opened: () => {}, closed: () => {}, mayLeave: () => true};
// Where each image needs a map: what is there of the two.
const given = {image: null, map: null};

const itemNow = () => queue.items[queue.at] || null;

export async function begin(theModel, theHandlers) {
  [model, handlers] = [theModel, theHandlers];
  $('map-slot').hidden = !model.needs_map;
  await refresh();
  if (queue.items.length) open(Math.max(0, queue.items.findIndex(one => !one.saved)));
}

// Asks what a rater has saved already.
export async function refresh() {
  const rater = $('rater').value.trim();
  const answer = await send(`/queue?${new URLSearchParams({rater})}`);
  for (const {name, stem, saved} of answer ? await answer.json() : []) {
    const known = queue.items.find(one => one.stem === stem);
    if (known) known.saved = saved;
    else {
      queue.items.push({name, stem, saved, open: view =>
        ask(`/queue/${encodeURIComponent(stem)}?${new URLSearchParams(view)}`, '', DOING)});
    }
  }
  show();
}

export function markSaved() {
  if (itemNow()) itemNow().saved = true;
  show();
}

export function nextUnsaved() {
  const {items, at} = queue;
  const later = items.findIndex((one, index) => index > at && !one.saved && !one.failed);
  const first = items.findIndex((one, index) => index !== at && !one.saved && !one.failed);
  return later >= 0 ? later : first;
}

// Says how much of the queue is done when nothing is left to open.
export function summary() {
  const open = queue.items.filter(one => !one.saved).map(one => one.name);
  return open.length ? `All but ${open.join(', ')} are saved.` : 'All are saved.';
}

// Opens an image of the queue, as `view` says: slice and window.
export async function open(at, view = {}) {
  const item = queue.items[at];
  if (!item) return;
  if (!handlers.mayLeave()) {
    show();
    return;
  }
  queue.at = at;
  handlers.closed();  // Nothing of another image stays, whatever comes of this one.
  show();
  const content = await item.open(view);
  if (itemNow() !== item) return;  // Another one was asked for meanwhile.
  item.failed = !content;
  show();
  if (content) handlers.opened(content, view);
  else if ($('error').textContent && !$('next').disabled) {
    fail(`${$('error').textContent.replace(/\.$/, '')}. Go on with the next one: N.`);
  }
}

// Asks for the open image once more; returns what the server found.
export const reread = view => itemNow().open(view);
export const again = view => open(queue.at, view);
export const step = by => open(queue.at + by);

function show() {
  const {items, at} = queue;
  $('queue').hidden = items.length < 2 && !model.output;
  const mark = one => (one.failed ? '✗ ' : one.saved ? '✓ ' : '');
  $('queue-list').replaceChildren(
    ...(at < 0 ? [element('option', {value: -1}, 'none yet')] : []),
    ...items.map((one, index) => element('option', {value: index}, mark(one) + one.name)));
  $('queue-list').value = at;
  const saved = items.filter(one => one.saved).length;
  $('queue-words').textContent = `${at + 1} of ${items.length}` +
    (model.output ? `, ${saved} saved` : '');
  $('previous').disabled = at < 1;
  $('next').disabled = at + 1 >= items.length;
}

// Files

const stemOf = name => name.replace(/\.(nii\.gz|[^.]*)$/i, '');
const isMap = file => /\.npy$|labelids|trainids|_pred|_map/i.test(file.name);

const isPicture = name => /^[^.].*\.(png|jpe?g|bmp|tiff?|webp|dcm|nii|gz|npy)$/i.test(name);

// What was dropped: of folders the pictures in them, as the server finds them.
async function filesOf(transfer) {
  const entries = [...transfer.items].map(item => item.webkitGetAsEntry?.());
  if (!entries.some(entry => entry?.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.filter(Boolean).map(walk))).flat();
}

async function walk(entry) {
  if (entry.isFile) {
    return isPicture(entry.name) ? [await new Promise((...done) => entry.file(...done))] : [];
  }
  const inside = [], reader = entry.createReader();
  for (;;) {  // A reader gives a hundred at a time.
    const some = await new Promise((...done) => reader.readEntries(...done));
    if (!some.length) break;
    inside.push(...some);
  }
  const images = inside.filter(one => one.isDirectory && one.name === 'images');
  const sorted = (images.length ? images : inside).sort((a, b) => a.name < b.name ? -1 : 1);
  return (await Promise.all(sorted.map(walk))).flat();
}

export function take(files) {
  const list = [...files];
  const maps = model.needs_map ? list.filter(isMap) : [];
  if (model.needs_map && !maps.length && list.length === 2) maps.push(list[1]);
  const images = list.filter(file => !maps.includes(file));
  if (images.length < 2) {
    give(images[0] || null, maps[0] || null);
    return;
  }
  const first = queue.items.length;
  for (const image of images) {
    const map = maps.find(one => one.name.startsWith(stemOf(image.name)));
    add(image, map || null);
  }
  open(first);
}

export function give(image, map) {
  if (image) given.image = image;
  if (map) given.map = map;
  showFile('image', given.image);
  showFile('map', given.map);
  if (!given.image) {
    if (map) fail('Now drop the image that this map belongs to.');
  } else if (model.needs_map && !given.map) {
    say(`This model works on top of a segmenter: add its map of ${given.image.name}.`);
  } else {
    add(given.image, given.map);
    // The next image comes with a map of its own; a map that failed can be replaced.
    given.map = null;
    if (!model.needs_map) given.image = null;
    open(queue.items.length - 1);
  }
}

function showFile(kind, file) {
  const words = $(`${kind}-words`);
  words.dataset.first = words.dataset.first || words.textContent;
  words.textContent = file ? file.name : words.dataset.first;
  words.closest('.slot').classList.toggle('filled', Boolean(file));
}

function add(image, map) {
  const items = queue.items.filter(one => one.file !== image);
  items.push({name: image.name, file: image, saved: false, open: view => {
    const large = [image, map].find(file => file && file.size > model.max_bytes);
    if (large) {
      fail(`${large.name} is larger than ${Math.round(model.max_bytes / 1e6)} MB. ` +
        'Make it smaller, or start with --images.');
      return null;
    }
    const query = new URLSearchParams({name: image.name, ...view});
    if (map) {
      query.set('map_name', map.name);
      query.set('image_bytes', image.size);
    }
    return ask(`/images?${query}`, new Blob(map ? [image, map] : [image]), DOING);
  }});
  queue.items = items;
}

export async function listExamples() {
  const answer = await send('/examples');
  const names = answer ? await answer.json() : [];
  $('examples').hidden = !names.length;
  $('examples-list').replaceChildren(...names.map((words, number) => {
    const button = element('button', {type: 'button', 'aria-label': `Try ${words}`},
      element('img', {src: `/examples/${number}.jpg`, alt: ''}));
    button.onclick = () => {
      queue.items.push({name: words, saved: false, open: () =>
        ask(`/examples/${number}`, '', DOING)});
      open(queue.items.length - 1);
    };
    return button;
  }));
}

export function opened() {
  given.image = null;
  $('image-words').dataset.first = 'Drop further images';
  $('map-words').dataset.first = 'and their maps';
  showFile('image', null);
  showFile('map', null);
}

export function listen() {
  $('previous').onclick = () => step(-1);
  $('next').onclick = () => step(1);
  $('queue-list').onchange = () => open(Number($('queue-list').value));
  $('image-file').onchange = () => {
    take($('image-file').files);
    $('image-file').value = '';
  };
  $('map-file').onchange = () => {
    if ($('map-file').files[0]) give(null, $('map-file').files[0]);
    $('map-file').value = '';
  };
  for (const kind of ['dragover', 'dragleave', 'drop']) {
    document.addEventListener(kind, event => {
      event.preventDefault();
      document.body.classList.toggle('over', kind === 'dragover');
      if (kind !== 'drop') return;
      const onMap = model.needs_map && event.target.closest('#map-slot');
      filesOf(event.dataTransfer).then(files => {
        if (onMap && files.length === 1) give(null, files[0]);
        else if (files.length) take(files);
        else fail('Nothing in this folder is an image.');
      });
    });
  }
}
