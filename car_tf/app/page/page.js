// The page as a whole: what is opened, chosen, corrected and saved.

import {$, choice, element, plural, swatch} from './dom.js';
import * as found from './found.js';
import * as labels from './labels.js';
import * as queue from './queue.js';
import * as scan from './scan.js';
import * as server from './server.js';
import * as tools from './tools.js';

const {state} = found;
const {address} = scan;
const VOID = {id: 255, name: 'not labelled', label_id: 255, shown_color: [128, 128, 128]};
// Of the area, below which a class is listed with the others.
const LEAST_SHARE = 0.01;
let model = null;
let isSaved = true;
// Whose saved mask the page went on from, and which version of it.
let begun = {rater: '', version: ''};
let viewNow = {};
let visit = 0;
let turn = Promise.resolve();

// What changes the map waits until what was asked for before is done.
const inTurn = work => { turn = turn.then(work).catch(reportError); };
const raterNow = () => $('rater').value.trim();

// Returns what tells later whether the image was left meanwhile.
function staying() {
  const now = visit;
  return () => visit === now;
}

function closed() {
  visit++;
  state.found = null;
  isSaved = true;
  $('work').hidden = $('save').disabled = true;
}

function opened(content, view) {
  closed();
  found.begin(content);
  begun = {rater: '', version: ''};
  viewNow = view;
  const [height, width] = content.map_size;
  document.documentElement.style.setProperty('--aspect', width / height);
  document.body.classList.add('open');
  queue.opened();
  $('name').textContent = content.name;
  labels.begin(width, height);
  $('drawing').setAttribute('viewBox', `0 0 ${width} ${height}`);
  scan.begin(view);
  scan.showPictures();
  $('work').hidden = $('save').disabled = false;
  document.querySelector('.left').scrollTop = 0;
  tools.begin();
  if (tools.chosenClass() === VOID.id) chooseFirst();
  listClasses();
  found.showAll();
  show();
  const isHere = staying();
  inTurn(async () => {
    if (!isHere()) return;
    const ids = await server.bytes(address(`proposals/${state.chosen.base}`));
    if (!isHere()) return;
    if (!ids) {
      closed();
      return;
    }
    labels.putMap(ids);
    labels.restart();
    show();
    await takeSaved(isHere);
  });
}

// Returns what the rater saved of this image, and its version; null for nothing.
async function savedBy(rater) {
  if (!model.output || !rater) return null;
  const answer = await server.send(address(`saved?${new URLSearchParams({rater})}`));
  if (!answer || answer.status === 204) return null;
  const ids = new Uint8Array(await answer.arrayBuffer());
  return {ids, version: answer.headers.get('Saved-Version')};
}

// Goes on from what the rater saved before.
async function takeSaved(isHere) {
  const rater = raterNow();
  const saved = await savedBy(rater);
  if (!isHere()) return;
  begun = {rater, version: saved?.version || ''};
  if (!saved) return;
  labels.putMap(saved.ids);
  if (!labels.isOpen()) return;
  step({...state.chosen, byHand: 1});
  isSaved = true;
  server.say(`This is what ${rater} saved before; undo leads back to the proposal.`);
}

// Another rater begins with the proposal, or with what he or she saved.
async function changeRater() {
  localStorage.setItem('rater', raterNow());
  await queue.refresh();
  const rater = raterNow();
  if (!state.found || !model.output || rater === begun.rater) return;
  const isHere = staying();
  server.say('');
  const saved = await savedBy(rater);
  if (!isHere()) return;
  const other = saved ? `what ${rater} saved` : 'the proposal';
  const words = `Changes on this page are not saved. Leave them for ${other}?`;
  const isSame = !saved && !begun.version;
  if (isSame || !(isSaved || confirm(words))) begun = {rater, version: ''};
  else {
    opened(state.found, viewNow);
    server.say(`Opened again for ${rater || 'nobody'}.`);
  }
}

// Opens the image again that the server has forgotten; what was corrected stays.
async function openAgain(key) {
  if (state.found?.key !== key) return null;
  const isHere = staying();
  const slice = state.found.scan;
  const [low, high] = slice?.window || [];
  const view = slice ? {index: slice.index, low, high} : {};
  const content = await queue.reread(view);
  const answer = content && await server.send('/model');
  if (!answer || !isHere()) return null;
  const told = one => JSON.stringify([one.name, one.own_size, one.map_size]);
  const {classes} = await answer.json();
  if (told(content) !== told(state.found) ||
      JSON.stringify(classes) !== JSON.stringify(model.classes)) {
    server.fail('The server has another image of this name, or other classes, than when ' +
      'this page was loaded. What you changed is kept on the page.');
    return null;
  }
  found.further(content);
  found.showAll();
  show();
  scan.showPictures();
  server.say('The server had forgotten this image: it is open again, as you changed it.');
  return content.key;
}

// Of all who ask for a forgotten image, the first opens it again.
const reopened = new Map();

function reopen(key) {
  if (!reopened.has(key)) {
    reopened.set(key, openAgain(key).finally(() => reopened.delete(key)));
  }
  return reopened.get(key);
}

// Choosing, correcting, and the history

function step(next) {
  labels.commit({before: state.chosen, after: next});
  state.chosen = next;
  isSaved = false;
  show();
}

function choose(next, region) {
  const proposal = region === null ? next.base : next.taken[region];
  const {key} = state.found;
  inTurn(async () => {
    const [ids, inside] = await Promise.all([
      server.bytes(`/images/${key}/proposals/${proposal}`),
      region === null ? null : server.bytes(`/images/${key}/regions/${region}`)]);
    if (!ids || !state.found || state.found.key !== key) return;
    labels.putMap(ids, inside);
    step(next);
  });
}

function pick(number) {
  state.region = number;
  found.show();
  $('variants').closest('section').scrollIntoView({block: 'nearest'});
}

function turnBack(note, which) {
  if (!note) return;
  state.chosen = note[which];
  isSaved = false;
  show();
}

const undo = () => inTurn(() => turnBack(labels.undo(), 'before'));
const redo = () => inTurn(() => turnBack(labels.redo(), 'after'));

function show() {
  const {base, taken, byHand} = state.chosen;
  const changed = Object.keys(taken).length;
  $('chosen').textContent = [`proposal ${base + 1}`,
    ...(changed ? [`${plural(changed, 'region', 'regions')} changed`] : []),
    ...(byHand ? [`${plural(byHand, 'correction', 'corrections')} by hand`] : []),
  ].join(', ');
  $('undo').disabled = !labels.canUndo();
  $('redo').disabled = !labels.canRedo();
  found.show();
}

const chooseFirst = () => tools.chooseClass(Math.min(1, model.classes.length - 1));

function listClasses(extra = null) {
  const areas = new Map(state.found.classes.map(row => [row.name, row.max_area]));
  const all = [...model.classes, VOID];
  const isLarge = one => (areas.get(one.name) || 0) >= LEAST_SHARE;
  const listed = all.length < 8 ? all
    : all.filter(one => isLarge(one) || one.id === extra || one.id === tools.chosenClass());
  const words = one => `${one.name}, ${one.label_id}`;
  $('legend').replaceChildren(...listed.map(one =>
    choice('class', one.id, one.id === tools.chosenClass(), words(one),
      [swatch(one.shown_color), `${one.name} `, element('small', {}, one.label_id)],
      () => tools.chooseClass(one.id))));
  const others = all.filter(one => !listed.includes(one));
  $('other-class').hidden = !others.length;
  $('other-class').replaceChildren(element('option', {value: ''}, 'another class …'),
    ...others.map(one => element('option', {value: one.id}, words(one))));
}

// Saving

async function saveNext() {
  if (!model.output) return;
  const rater = raterNow();
  if (!rater) {
    server.fail('Write your name first: masks are saved under it.');
    $('rater').focus();
    return;
  }
  const ids = labels.labels.ids.slice();
  const {chosen} = state;
  const isHere = staying();
  const send = base =>
    server.post(address(`save?${new URLSearchParams({rater, base})}`), ids);
  let answer = await send(begun.rater === rater ? begun.version : '');
  if (answer?.status === 409) {
    const {error, version} = await answer.json();
    const isMeant = isHere() && confirm(`${error} It is not what this page began with. ` +
      'Replace it?');
    answer = isMeant ? await send(version) : server.fail(`${error} It was kept.`);
  }
  if (!answer) return;
  const {file, version} = await answer.json();
  if (!isHere()) {
    queue.refresh();
    return;
  }
  begun = {rater, version};
  if (state.chosen === chosen) isSaved = true;
  queue.markSaved();
  const next = queue.nextUnsaved();
  server.say(`Saved as ${file}. ${next < 0 ? queue.summary() : ''}`);
  if (next >= 0) {
    await queue.open(next);
    if (state.found) server.say(`Saved as ${file}. This is the next one.`);
  }
}

async function download(kind) {
  const answer = await server.post(address(`files/${kind}`), labels.labels.ids.slice());
  if (!answer) return;
  const named = /filename="(.+)"/.exec(answer.headers.get('Content-Disposition'));
  const url = URL.createObjectURL(await answer.blob());
  element('a', {href: url, download: named[1]}).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  isSaved = isSaved || !model.output;
}

// What is clicked, pressed and slid

function slide() {
  $('labels').style.opacity = $('labels-slider').value / 100;
  $('entropy').style.opacity = $('entropy-slider').value / 100;
}

const KEYS = {
  v: () => tools.chooseTool('choose'),
  b: () => tools.chooseTool('brush'),
  p: () => tools.chooseTool('polygon'),
  r: () => tools.chooseTool('relabel'),
  '[': () => tools.resizeBrush(0.8),
  ']': () => tools.resizeBrush(1.25),
  '+': () => $('zoom-in').click(),
  '-': () => $('zoom-out').click(),
  0: () => $('zoom-fit').click(),
  n: () => $('next').click(),
  N: () => $('previous').click(),
  Escape: () => tools.dropPolygon(),
};
const CONTROL_KEYS = {z: undo, Z: redo, y: redo, s: () => $('save').click()};

function key(event) {
  const isText = event.target.matches('input[type=text], select');
  const isStep = 'nN'.includes(event.key);  // From an image that cannot be read, too.
  if (!(state.found || isStep) || isText || event.altKey) return;
  const isControl = event.ctrlKey || event.metaKey;
  const action = (isControl ? CONTROL_KEYS : KEYS)[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function listen() {
  found.listen({choose, pick});
  queue.listen();
  scan.listen();
  tools.listen({
    done: () => step({...state.chosen, byHand: state.chosen.byHand + 1}),
    pick: where => {
      const number = found.regionAt(where);
      if (number !== null) pick(number);
      else if (state.found.regions.length) {
        server.say('The proposals agree there, up to specks.');
      }
    },
  });
  $('undo').onclick = undo;
  $('redo').onclick = redo;
  $('other-class').onchange = () => {
    tools.chooseClass(Number($('other-class').value));
    listClasses(tools.chosenClass());
  };
  $('more').onclick = async () => {
    $('more').disabled = true;
    const content = await server.ask(address('more'), '', 'Drawing ten more …');
    $('more').disabled = false;
    if (!content || !state.found || state.found.key !== content.key) return;
    found.further(content);
    found.showAll();
    show();
  };
  $('labels-slider').oninput = $('entropy-slider').oninput = slide;
  $('save').onclick = () => {
    const isHere = staying();  // What is saved is what was seen.
    inTurn(() => isHere() && saveNext());
  };
  $('rater').onchange = () => inTurn(changeRater);
  document.addEventListener('keydown', key);
  addEventListener('beforeunload', event => {
    if (!isSaved) event.preventDefault();
  });
}

const mayLeave = () => isSaved || !state.found || !state.chosen.byHand ||
  confirm('Your corrections of this image are not saved. Leave it?');

async function begin() {
  const answer = await server.send('/model');
  if (!answer) return;
  model = await answer.json();
  labels.setColors(model.classes);
  chooseFirst();
  $('rater').value = model.rater || localStorage.getItem('rater') || '';
  $('save-part').hidden = !model.output;
  $('save').title = `Ctrl S: in ${model.output}, images/ and masks/your name/`;
  $('links').replaceChildren(...Object.entries(model.kinds).map(([kind, words]) => {
    const button = element('button', {type: 'button'}, words);
    button.onclick = () => download(kind);
    return button;
  }));
  server.listen(reopen);
  listen();
  slide();
  server.watch();
  queue.listExamples();
  await queue.begin(model, {opened, closed, mayLeave});
  document.body.dataset.ready = 'true';
}

begin();
