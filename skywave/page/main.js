// The page: one client, one room, and what connects them with the elements on the screen.

import { askForRoute, Skywave } from '/assets/skywave/index.js';

import { Company } from './company.js';
import { byId, setText } from './dom.js';
import { goToRoom, loadAuthor, loadName, read, readLocation, saveName, write } from './identity.js';
import { Latency } from './latency.js';
import { MessageLog } from './log.js';
import { Plot } from './plot.js';
import { Room } from './room.js';
import { Sender } from './sender.js';
import { Status } from './status.js';

const TRANSPORT_KEY = 'skywave.page.transport';
const INTERRUPTION_MS = 5_000;
/** A demonstration should notice a dead server quickly, also over UDP. */
const HEARTBEAT_MS = 3_000;
/** … and that it is back. */
const BACKOFF = { base: 1_000, max: 4_000 };

const log = new MessageLog();
const latency = new Latency(new Plot(byId('plot')));
const author = loadAuthor();
const sender = new Sender(log, latency, author);
const company = new Company();
const status = new Status();

let name = loadName();
let client;
let room;

/** The node that the page came from; if it dies, another one of its region takes this tab. */
async function hereFirst(...question) {
  const nodes = await askForRoute(...question);
  return [location.origin, ...nodes.filter((node) => node !== location.origin)];
}

/** A client over the chosen transport; the room goes on where it stands. */
function connect(transport) {
  const { token } = readLocation();
  client?.close();
  const next = new Skywave({
    url: location.origin,
    route: true,
    findRoute: hereFirst,
    name: 'skywave-page',
    heartbeatMs: HEARTBEAT_MS,
    backoff: BACKOFF,
    transportMemory: localStorage,
    ...(token === undefined ? {} : { token }),
    ...(transport === 'auto' ? {} : { transports: [transport] }),
  });
  client = next;
  next.on('connected', (info) => company.connectedAs(info));
  next.on('state', (change) => {
    if (next === client) status.show(change, next.info);
  });
  status.show({ state: next.state }, undefined);
  enter(room?.channel ?? readLocation().room, room?.position);
}

/** Enters a room, from the beginning or after a position this tab has reached already. */
function enter(channel, position) {
  room?.close();
  if (position === undefined) {
    log.clear();
    status.reset();
  }
  setText(byId('room-title'), channel);
  setText(byId('composer-note'), '');
  document.title = `${channel} · Skywave`;
  company.enter(client, channel, name);
  sender.use(client, channel);
  room = new Room(client, channel, position, {
    history: (publication) => log.add(readable(publication)),
    message(publication) {
      latency.delivered(publication);
      company.spoke(publication);
      log.add(readable(publication));
    },
    position: (reached) => status.position(reached),
    note(kind, text) {
      status.recovery(kind, text);
      log.note(kind, text);
    },
    members: (members) => company.set(members),
    joined: (member) => company.joined(member),
    left: (member) => company.left(member),
    ready: () => log.settled(),
    refused: (error) => setText(byId('composer-note'), `This room cannot be entered: ${error.message}`),
  });
}

/** A publication as a line of the log, whoever published it and with whatever data. */
function readable(publication) {
  const { position, id, time, recovered, data } = publication;
  const text = typeof data?.text === 'string' ? data.text : typeof data === 'string' ? data : JSON.stringify(data);
  const own = data?.author === author || log.isPending(id);
  return { offset: position?.offset, id, time, recovered, text, own, author: company.authorOf(publication) };
}

function setUpTransports() {
  const inputs = [...byId('transports').querySelectorAll('input')];
  const kept = read(localStorage, TRANSPORT_KEY) ?? 'auto';
  for (const input of inputs) {
    if (input.value === 'webtransport' && !('WebTransport' in window)) {
      input.disabled = true;
      input.parentElement.title = 'This browser has no WebTransport, or the page is not in a secure context';
    }
    input.checked = input.value === kept && !input.disabled;
    input.addEventListener('change', () => {
      write(localStorage, TRANSPORT_KEY, input.value);
      connect(input.value);
    });
  }
  if (!inputs.some((input) => input.checked)) inputs[0].checked = true;
  return inputs.find((input) => input.checked).value;
}

function setUpComposer() {
  const message = byId('message');
  const form = byId('composer');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const text = message.value.trim();
    if (text === '') return;
    sender.send(text, name);
    message.value = '';
    company.typing(false);
    message.focus();
  });
  message.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  message.addEventListener('input', () => company.typing(message.value.trim() !== ''));

  const nameField = byId('name');
  nameField.value = name;
  nameField.addEventListener('change', () => {
    name = nameField.value.trim() || name;
    nameField.value = name;
    saveName(name);
    company.rename(name);
  });
  nameField.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    message.focus();
  });
}

function setUpRooms() {
  const field = byId('room-input');
  byId('room-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const wanted = field.value.trim();
    field.value = '';
    if (wanted !== '') goToRoom(wanted);
  });
  window.addEventListener('hashchange', () => {
    const wanted = readLocation().room;
    if (wanted !== room.channel) enter(wanted, undefined);
  });
}

function setUpDemonstrations() {
  const interrupt = byId('interrupt');
  interrupt.addEventListener('click', () => {
    interrupt.disabled = true;
    client.disconnect();
    setTimeout(() => {
      client.connect();
      interrupt.disabled = false;
    }, INTERRUPTION_MS);
  });
  const burst = byId('burst');
  burst.addEventListener('click', async () => {
    burst.disabled = true;
    await latency.burst(client).finally(() => {
      burst.disabled = false;
    });
  });
}

setUpComposer();
setUpRooms();
setUpDemonstrations();
connect(setUpTransports());
