'use strict';

const $ = id => document.getElementById(id);
const maxBytes = Number(document.body.dataset.maxBytes);
const needsMap = document.body.dataset.needsMap === 'true';
const given = {image: null, map: null};
// What the server found, and what was chosen: the proposal that is the base, and for
// each region that was changed the proposal that it is taken from.
let found = null;
let chosen = {base: 0, taken: {}};
let region = null;
let past = [];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.05) return '< 0.1 %';
  return `${value.toFixed(value > 0 && value < 0.95 ? 1 : 0)} %`;
}

const plural = (number, one, many) => `${number} ${number === 1 ? one : many}`;

function address(kind, {base, taken}, more = '') {
  const take = Object.entries(taken).map(pair => pair.join(':')).join(',');
  return `/images/${found.key}/${kind}?base=${base}&take=${take}${more}`;
}

// Asking the server

function fail(words) {
  $('status').textContent = '';
  $('error').textContent = words;
  $('error').scrollIntoView({block: 'nearest'});
}

async function ask(path, body, doing) {
  $('error').textContent = '';
  $('status').textContent = doing;
  document.body.classList.add('busy');
  $('more').disabled = true;
  const asked = performance.now();
  try {
    const answer = await fetch(path, {method: 'POST', body,
      headers: {'Content-Type': 'application/octet-stream'}});
    const content = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      fail(content.error || 'The server failed; its window says why.');
      return null;
    }
    const seconds = ((performance.now() - asked) / 1000).toFixed(1);
    $('status').textContent = `Done in ${seconds} s.`;
    return content;
  } catch (error) {
    fail('The server does not answer. Is its command still running?');
    return null;
  } finally {
    document.body.classList.remove('busy');
    $('more').disabled = found !== null && found.is_full;
  }
}

// Opening an image

const isMap = file => /\.npy$|labelids|trainids|_pred|_map/i.test(file.name);

function take(files) {
  const list = [...files];
  if (!list.length) return;
  let map = needsMap ? list.find(isMap) : null;
  if (needsMap && !map && list.length > 1) map = list[1];
  const image = list.find(file => file !== map);
  give(image || null, map || null);
}

function give(image, map) {
  for (const file of [image, map]) {
    if (file && file.size > maxBytes) {
      fail(`${file.name} is larger than ${Math.round(maxBytes / 1e6)} MB. Make it smaller.`);
      return;
    }
  }
  if (image) given.image = image;
  if (map) given.map = map;
  showFile('image', given.image);
  showFile('map', given.map);
  if (!given.image) fail('Now drop the image that this map belongs to.');
  else if (needsMap && !given.map) {
    $('error').textContent = '';
    $('status').textContent =
      `This model works on top of a segmenter: add its map of ${given.image.name}.`;
  } else send();
}

function showFile(kind, file) {
  const words = $(`${kind}-words`);
  words.dataset.first = words.dataset.first || words.textContent;
  words.textContent = file ? file.name : words.dataset.first;
  words.closest('.slot').classList.toggle('filled', Boolean(file));
}

async function send() {
  const {image, map} = given;
  const query = new URLSearchParams({name: image.name});
  const parts = [image];
  if (map) {
    query.set('map_name', map.name);
    query.set('image_bytes', image.size);
    parts.push(map);
  }
  const content = await ask(`/images?${query}`, new Blob(parts), 'Drawing proposals …');
  // The next image comes with a map of its own; a map that failed can be replaced.
  given.map = null;
  if (content) {
    given.image = null;
    start(content);
  }
  showFile('map', null);
}

async function listExamples() {
  const answer = await fetch('/examples').catch(() => null);
  const names = answer && answer.ok ? await answer.json() : [];
  $('examples').hidden = !names.length;
  $('examples-list').replaceChildren(...names.map((words, number) => {
    const button = element('button', {type: 'button', 'aria-label': `Try ${words}`},
      element('img', {src: `/examples/${number}.jpg`, alt: ''}));
    button.onclick = async () => {
      const content = await ask(`/examples/${number}`, '', 'Drawing proposals …');
      if (content) start(content);
    };
    return button;
  }));
}

function start(content) {
  found = sorted(content);
  chosen = {base: found.groups[0].members[0], taken: {}};
  region = null;
  past = [];
  const [height, width] = found.own_size;
  document.documentElement.style.setProperty('--aspect', width / height);
  document.body.classList.add('open');
  $('image-words').textContent = `${found.name}:`;
  $('image-hint').textContent = 'drop or choose another image';
  $('map-words').dataset.first = 'and its map';
  $('map-hint').textContent = '';
  $('image').src = `/images/${found.key}/image.jpg`;
  $('entropy').src = `/images/${found.key}/entropy.png`;
  $('work').hidden = false;
  showAll();
}

// Showing what was found

function sorted(content) {
  content.classes.sort((one, other) => other.mean_area - one.mean_area);
  return content;
}

function choice(group, value, isChosen, words, content, onChoice) {
  const input = element('input', {type: 'radio', name: group, value, 'aria-label': words});
  input.checked = isChosen;
  input.onchange = () => onChoice();
  return element('label', {class: 'choice', title: words}, input,
    element('span', {}, ...content));
}

const picture = source => element('img', {src: source, alt: '', loading: 'lazy'});

function showAll() {
  const [height, width] = found.working_size;
  $('count').textContent = `${found.num_samples} proposals`;
  $('more').disabled = found.is_full;
  // Specks would only make the list long; the table below has them all.
  $('legend').replaceChildren(...[...found.classes]
    .filter(row => row.max_area >= 0.01)
    .map(row => element('li', {}, swatch(row), row.name)),
  element('li', {class: 'scale'}, 'unsure: 0', element('i'),
    `${found.max_entropy_bits.toFixed(1)} bits`));
  $('groups').replaceChildren(...found.groups.map(showGroup));
  $('outlines').setAttribute('viewBox', `0 0 ${width} ${height}`);
  $('outlines').replaceChildren(...found.regions.map(one => {
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    path.setAttribute('d', one.path);
    path.onclick = event => { event.stopPropagation(); pick(one.number); };
    return path;
  }));
  $('regions').replaceChildren(...found.regions.map((one, index) => {
    const chip = choice('region', one.number, false, `Region ${index + 1}: ${one.words}`,
      [`${index + 1}`], () => pick(one.number));
    const path = $('outlines').children[index];
    chip.onmouseenter = () => path.classList.add('hint');
    chip.onmouseleave = () => path.classList.remove('hint');
    return chip;
  }));
  showNumbers();
  show();
}

const swatch = row =>
  element('span', {class: 'swatch', style: `background:rgb(${row.shown_color})`});

function showGroup(group) {
  const num = group.members.length;
  const heading = element('header', {},
    element('b', {}, percent(group.share)), ' ',
    element('span', {}, `${num} of ${found.num_samples}`),
    element('span', {class: 'bar'}, element('i', {style: `width:${100 * group.share}%`})),
    element('small', {}, group.words || 'the most frequent kind'));
  const thumbs = group.members.map(number => {
    const made = choice('proposal', number, number === chosen.base,
      `Proposal ${number + 1}, of a group of ${percent(group.share)}`,
      [picture(address('thumb.jpg', {base: number, taken: {}}))],
      () => choose({base: number, taken: {}}));
    made.classList.add('thumb');
    return made;
  });
  return element('div', {class: 'group', role: 'group',
    'aria-label': `${percent(group.share)} of the proposals: ${group.words}`},
  heading, element('div', {class: 'thumbs'}, ...thumbs));
}

function showNumbers() {
  const fill = (table, heads, rows) => table.replaceChildren(
    element('tr', {}, ...heads.map(words => element('th', {scope: 'col'}, words))),
    ...rows.map(cells => element('tr', {},
      ...cells.map(cell => element('td', {}, ...[cell].flat())))));
  fill($('classes'), ['Class', 'in', 'mean area', 'range'],
    found.classes.map(row => [[swatch(row), row.name],
      `${row.num_samples_with_it} of ${found.num_samples}`, percent(row.mean_area),
      row.min_area === row.max_area ? percent(row.max_area)
        : `${percent(row.min_area).replace(' %', '')} to ${percent(row.max_area)}`]));
  $('flips-part').hidden = !found.flips.length;
  fill($('flips'), ['Class', 'becomes', 'here', 'in training'],
    found.flips.map(row => [row.class, row.other_name, percent(row.frequency),
      percent(row.true_probability)]));
}

// Choosing

function choose(next) {
  past.push(chosen);
  chosen = next;
  show();
}

function pick(number) {
  region = number;
  show();
  $('variants').closest('section').scrollIntoView({block: 'nearest'});
}

function show() {
  const changed = Object.keys(chosen.taken).length;
  $('labels').src = address('labels.png', chosen);
  $('chosen').textContent = `proposal ${chosen.base + 1}` +
    (changed ? `, ${plural(changed, 'region', 'regions')} changed` : '');
  $('undo').disabled = !past.length;
  for (const input of document.querySelectorAll('input[name=proposal]')) {
    input.checked = Number(input.value) === chosen.base;
  }
  found.regions.forEach((one, index) => {
    $('outlines').children[index].classList.toggle('now', one.number === region);
    const chip = $('regions').children[index];
    chip.querySelector('input').checked = one.number === region;
    chip.classList.toggle('changed', one.number in chosen.taken);
  });
  const kinds = [['PNG, colours', 'color.png'], ['PNG, class ids', 'ids.png'],
    ['COCO JSON', 'coco.json']];
  if (document.body.dataset.cityscapes === 'true') {
    kinds.push(['PNG, Cityscapes’ label ids', 'labelids.png'],
      ['Cityscapes JSON', 'cityscapes.json']);
  }
  $('links').replaceChildren(...kinds.map(([words, kind]) =>
    element('a', {href: address(`save/${kind}`, chosen), download: ''}, words)));
  showVariants();
}

function showVariants() {
  const one = found.regions.find(({number}) => number === region);
  const none = found.groups.length > 1 ? 'The proposals differ in specks alone.'
    : 'The proposals agree everywhere.';
  $('regions-words').textContent = !found.regions.length ? none
    : one ? `Region ${found.regions.indexOf(one) + 1}, ${one.words}: choose a variant.`
      : 'Click in the picture, or on a number, where you would have it otherwise.';
  if (!one) {
    $('variants').replaceChildren();
    return;
  }
  const now = region in chosen.taken ? chosen.taken[region] : chosen.base;
  const held = document.activeElement && document.activeElement.name === 'variant';
  const thumbs = one.variants.map((variant, index) => {
    const isNow = variant.members.includes(now);
    const sample = isNow ? now : variant.members[0];
    const taken = {...chosen.taken, [region]: sample};
    const words = `${variant.words}, ${percent(variant.share)}`;
    const made = choice('variant', index, isNow, words,
      [picture(address('thumb.jpg', {base: chosen.base, taken}, `&region=${region}`)),
        element('small', {}, words)],
      () => choose({base: chosen.base, taken}));
    made.classList.add('thumb');
    return made;
  });
  $('variants').replaceChildren(
    element('div', {class: 'thumbs', role: 'radiogroup', 'aria-label': 'Variants'},
      ...thumbs));
  if (held) $('variants').querySelector('input:checked').focus();
}

// What is clicked, dropped and slid

$('undo').onclick = () => {
  chosen = past.pop();
  show();
};

$('more').onclick = async () => {
  const content = await ask(`/images/${found.key}/more`, '', 'Drawing ten more …');
  if (!content) return;
  // What was changed stays: regions keep their numbers on the server.
  found = sorted(content);
  region = null;
  showAll();
};

$('stage').onclick = () => {
  if (found.regions.length) {
    $('status').textContent = 'The proposals agree there, up to specks.';
  }
};

function slide() {
  $('labels').style.opacity = $('labels-slider').value / 100;
  $('entropy').style.opacity = $('entropy-slider').value / 100;
}
$('labels-slider').oninput = slide;
$('entropy-slider').oninput = slide;
slide();

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
    const files = event.dataTransfer.files;
    if (needsMap && files.length === 1 && event.target.closest('#map-slot')) {
      give(null, files[0]);
    } else take(files);
  });
}
$('map-slot').hidden = !needsMap;
listExamples();
