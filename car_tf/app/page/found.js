// What the model proposes: groups, regions with their variants, and figures.

import {$, choice, drawn, element, percent, swatch} from './dom.js';

// What the server found, and what was chosen: the proposal that is the base, for each
// region that was changed the proposal that it is taken from, and corrections by hand.
export const state = {found: null, chosen: null, region: null};
let handlers = {choose: () => {}, pick: () => {}};

export const listen = given => { handlers = given; };

export function begin(content) {
  state.found = sorted(content);
  state.chosen = {base: content.groups[0].members[0], taken: {}, byHand: 0};
  state.region = null;
}

export function further(content) {
  // What was changed stays: regions keep their numbers on the server.
  state.found = sorted(content);
  state.region = null;
}

function sorted(content) {
  content.classes.sort((one, other) => other.mean_area - one.mean_area);
  return content;
}

function thumb(proposal, region = null) {
  const more = region === null ? '' : `&region=${region}`;
  const source = `/images/${state.found.key}/thumb.jpg?proposal=${proposal}${more}`;
  return element('img', {src: source, alt: '', loading: 'lazy'});
}

export function showAll() {
  const {found} = state;
  const [height, width] = found.working_size;
  $('count').textContent = `${found.num_samples} proposals`;
  $('more').disabled = found.is_full;
  $('scale-words').textContent = `${found.max_entropy_bits.toFixed(1)} bits`;
  $('groups').replaceChildren(...found.groups.map(showGroup));
  $('outlines').setAttribute('viewBox', `0 0 ${width} ${height}`);
  $('outlines').replaceChildren(...found.regions.map(one => drawn('path', {d: one.path})));
  $('regions').replaceChildren(...found.regions.map((one, index) => {
    const chip = choice('region', one.number, false, `Region ${index + 1}: ${one.words}`,
      [`${index + 1}`], () => handlers.pick(one.number));
    const path = $('outlines').children[index];
    chip.onmouseenter = () => path.classList.add('hint');
    chip.onmouseleave = () => path.classList.remove('hint');
    return chip;
  }));
  showNumbers();
}

function showGroup(group) {
  const {found, chosen} = state;
  const heading = element('header', {},
    element('b', {}, percent(group.share)), ' ',
    element('span', {}, `${group.members.length} of ${found.num_samples}`),
    element('span', {class: 'bar'}, element('i', {style: `width:${100 * group.share}%`})),
    element('small', {}, group.words || 'the most frequent kind'));
  const thumbs = group.members.map(number => {
    const made = choice('proposal', number, number === chosen.base,
      `Proposal ${number + 1}, of a group of ${percent(group.share)}`, [thumb(number)],
      () => handlers.choose({base: number, taken: {}, byHand: 0}, null));
    made.classList.add('thumb');
    return made;
  });
  return element('div', {class: 'group', role: 'group',
    'aria-label': `${percent(group.share)} of the proposals: ${group.words}`},
  heading, element('div', {class: 'thumbs'}, ...thumbs));
}

function showNumbers() {
  const {found} = state;
  const fill = (table, heads, rows) => table.replaceChildren(
    element('tr', {}, ...heads.map(words => element('th', {scope: 'col'}, words))),
    ...rows.map(cells => element('tr', {},
      ...cells.map(cell => element('td', {}, ...[cell].flat())))));
  fill($('classes'), ['Class', 'in', 'mean area', 'range'],
    found.classes.map(row => [[swatch(row.shown_color), row.name],
      `${row.num_samples_with_it} of ${found.num_samples}`, percent(row.mean_area),
      row.min_area === row.max_area ? percent(row.max_area)
        : `${percent(row.min_area).replace(' %', '')} to ${percent(row.max_area)}`]));
  $('flips-part').hidden = !found.flips.length;
  fill($('flips'), ['Class', 'becomes', 'here', 'in training'],
    found.flips.map(row => [row.class, row.other_name, percent(row.frequency),
      percent(row.true_probability)]));
}

// Returns the number of the region at a place of the map, null for none.
export function regionAt({x, y}) {
  const {found} = state;
  const point = $('outlines').createSVGPoint();
  point.x = x * found.working_size[1] / found.map_size[1];
  point.y = y * found.working_size[0] / found.map_size[0];
  const paths = [...$('outlines').children];
  // Those drawn later lie above.
  const index = paths.findLastIndex(path => path.isPointInFill(point));
  return index < 0 ? null : found.regions[index].number;
}

export function show() {
  const {found, chosen, region} = state;
  for (const input of document.querySelectorAll('input[name=proposal]')) {
    input.checked = Number(input.value) === chosen.base;
  }
  found.regions.forEach((one, index) => {
    $('outlines').children[index].classList.toggle('now', one.number === region);
    const chip = $('regions').children[index];
    chip.querySelector('input').checked = one.number === region;
    chip.classList.toggle('changed', one.number in chosen.taken);
  });
  showVariants();
}

function showVariants() {
  const {found, chosen, region} = state;
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
    const words = `${variant.words}, ${percent(variant.share)}`;
    const made = choice('variant', index, isNow, words,
      [thumb(sample, region), element('small', {}, words)],
      () => handlers.choose({...state.chosen,
        taken: {...state.chosen.taken, [region]: sample}}, region));
    made.classList.add('thumb');
    return made;
  });
  $('variants').replaceChildren(
    element('div', {class: 'thumbs', role: 'radiogroup', 'aria-label': 'Variants'},
      ...thumbs));
  if (held) $('variants').querySelector('input:checked').focus();
}
