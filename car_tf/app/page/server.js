// Asking the server, and saying what came of it.

import {$} from './dom.js';

const GONE = 'The server does not answer. Is its command still running? What you changed ' +
  'is kept on this page: start the command again, or wait for the connection.';
const PING_EVERY = 5000;
const BINARY = {'Content-Type': 'application/octet-stream'};
// Opens an image again whose key the server has forgotten; returns its new key, or null.
let reopen = async () => null;

export const listen = given => { reopen = given; };

export function fail(words) {
  $('status').textContent = '';
  $('error').textContent = words;
  if (words) $('error').scrollIntoView({block: 'nearest'});
}

export function say(words) {
  $('error').textContent = '';
  $('status').textContent = words;
}

function lost(isLost) {
  $('lost').textContent = isLost ? GONE : '';
}

// Returns the answer, which may be a question (409); null, with the reason on the page,
// where there is none.
export async function send(path, options = {}) {
  try {
    const answer = await fetch(path, options);
    lost(false);
    if (answer.ok || answer.status === 409) return answer;
    if (answer.status === 410 && !options.isSecond) {
      const [, key, rest] = /^\/images\/(\w+)(\/.*)$/.exec(path);
      const now = await reopen(key);
      return now && send(`/images/${now}${rest}`, {...options, isSecond: true});
    }
    const content = await answer.json().catch(() => ({}));
    fail(content.error || 'The server failed; its window says why.');
  } catch (error) {
    $('status').textContent = '';
    lost(true);
  }
  return null;
}

export const post = (path, body) => send(path, {method: 'POST', body, headers: BINARY});

// Asks for what takes a while, which is JSON.
export async function ask(path, body, doing) {
  say(doing);
  document.body.classList.add('busy');
  const asked = performance.now();
  const answer = await post(path, body);
  document.body.classList.remove('busy');
  if (!answer) return null;
  const content = await answer.json();
  say(`Done in ${((performance.now() - asked) / 1000).toFixed(1)} s.`);
  return content;
}

export async function bytes(path) {
  const answer = await send(path);
  if (!answer || answer.status === 204) return null;
  return new Uint8Array(await answer.arrayBuffer());
}

// Says that the server has gone before anybody works on in vain.
export function watch() {
  const ping = () => fetch('/ping').then(() => lost(false), () => lost(true));
  setInterval(ping, PING_EVERY);
  addEventListener('offline', () => lost(true));
  addEventListener('online', ping);
}
