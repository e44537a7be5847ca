// What the browser test runs: opens WebTransport by the certificate's hash, receives on a stream and by datagram, sees a
// close code, uses SSE and POST, and publishes what it saw to the channel `lobby`.

const { url, hashes } = await (await fetch('/v1/webtransport/certificate')).json();
const serverCertificateHashes = hashes.map(({ algorithm, value }) => ({
  algorithm,
  value: Uint8Array.from(atob(value), (character) => character.charCodeAt(0)),
}));

const encoder = new TextEncoder();

async function open() {
  const session = new WebTransport(url, { serverCertificateHashes });
  session.closed.catch(() => {});
  await session.ready;
  const control = await session.createBidirectionalStream();
  const writer = control.writable.getWriter();
  const send = (message) => writer.write(encoder.encode(`${JSON.stringify(message)}\n`));
  return { session, lines: reader(control.readable), send };
}

/** Messages of a stream, one at each call. */
function reader(stream) {
  const source = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  return async () => {
    for (;;) {
      const end = rest.indexOf('\n');
      if (end >= 0) {
        const line = rest.slice(0, end);
        rest = rest.slice(end + 1);
        if (line.startsWith('data: ')) return JSON.parse(line.slice(6));
        if (line.startsWith('{')) return JSON.parse(line);
        continue;
      }
      const { value, done } = await source.read();
      if (done) throw new Error('the stream has ended');
      rest += value;
    }
  };
}

async function until(next, fits) {
  for (;;) {
    const message = await next();
    if (message.error) throw new Error(JSON.stringify(message.error));
    if (fits(message)) return message;
  }
}

async function streamsAndDatagrams(result) {
  const { session, lines, send } = await open();
  await send({ id: 1, connect: {} });
  await send({ id: 2, subscribe: { channel: 'chat:1' } });
  await send({ id: 3, subscribe: { channel: 'live:1' } });
  await until(lines, (message) => message.id === 3);
  await send({ id: 4, publish: { channel: 'chat:1', data: 'durable' } });
  const { value: stream } = await session.incomingUnidirectionalStreams.getReader().read();
  result.stream = (await reader(stream)()).pub;
  await session.datagrams.writable
    .getWriter()
    .write(encoder.encode(JSON.stringify({ publish: { channel: 'live:1', data: 'ephemeral' } })));
  const { value: datagram } = await session.datagrams.readable.getReader().read();
  result.datagram = JSON.parse(new TextDecoder().decode(datagram)).pub;
  session.close();
}

async function closeCodes(result) {
  const { session, send } = await open();
  await send({ id: 1, ping: {} });
  const { closeCode, reason } = await session.closed;
  result.closed = { closeCode, reason };
}

async function events(result) {
  const response = await fetch('/v1/sse');
  const next = reader(response.body);
  const { session } = await next();
  const post = (lines) => fetch('/v1/sse', { method: 'POST', headers: { 'skywave-session': session }, body: lines });
  await post('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"live:2"}}');
  await until(next, (message) => message.id === 2);
  await post('{"id":3,"publish":{"channel":"live:2","data":"event"}}');
  result.event = (await until(next, (message) => message.pub)).pub;
}

const result = { error: null };
try {
  await streamsAndDatagrams(result);
  await closeCodes(result);
  await events(result);
} catch (error) {
  result.error = `${error} ${error.stack}`;
}
await fetch('/v1/publish', { method: 'POST', body: JSON.stringify({ channel: 'lobby', data: result }) });
