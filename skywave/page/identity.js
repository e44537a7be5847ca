// Who this tab is and where it is: the name in localStorage, room and token from the fragment of the URL, which no server sees.

const NAME_KEY = 'skywave.name';
const AUTHOR_KEY = 'skywave.author';
const TOKEN_KEY = 'skywave.token';
const DEFAULT_ROOM = 'chat:lobby';

const QUALITIES = ['Quiet', 'Brisk', 'Amber', 'Northern', 'Early', 'Clear', 'Patient', 'Bright'];
const THINGS = ['Heron', 'Signal', 'Beacon', 'Harbour', 'Comet', 'Meridian', 'Swift', 'Antenna'];

const pick = (list) => list[Math.floor(Math.random() * list.length)];

export function loadName() {
  const kept = read(localStorage, NAME_KEY);
  if (kept) return kept;
  const name = `${pick(QUALITIES)} ${pick(THINGS)}`;
  saveName(name);
  return name;
}

export function saveName(name) {
  write(localStorage, NAME_KEY, name);
}

/** Marks this browser's own messages, so that they are shown as its own after a reload too. Proves nothing to anybody. */
export function loadAuthor() {
  const kept = read(localStorage, AUTHOR_KEY);
  if (kept) return kept;
  const author = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  write(localStorage, AUTHOR_KEY, author);
  return author;
}

/** `#chat:lobby` or `#chat:lobby?token=…`; the token moves from the address bar to this tab's storage at once. */
export function readLocation() {
  const [room = '', query = ''] = decodeFragment(location.hash.slice(1)).split('?', 2);
  const token = new URLSearchParams(query).get('token');
  if (token !== null) {
    write(sessionStorage, TOKEN_KEY, token);
    history.replaceState(null, '', `#${room}`);
  }
  return { room: room || DEFAULT_ROOM, token: read(sessionStorage, TOKEN_KEY) || undefined };
}

function decodeFragment(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function goToRoom(room) {
  location.hash = room;
}

export function read(store, key) {
  try {
    return store.getItem(key);
  } catch {
    return null;
  }
}

export function write(store, key, value) {
  try {
    store.setItem(key, value);
  } catch {
    // Private windows may refuse: the page then forgets between loads.
  }
}
