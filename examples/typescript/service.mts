// A small web service: orders over HTTP, and a page that shows each change as it happens.
//
//   node service.mjs [URL or path] [port]      then open http://127.0.0.1:3000/

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Database, defineMachine, type ErrorKind, RstmdbError } from 'rstmdb';

const order = defineMachine('order', 1, {
  states: ['created', 'paid', 'shipped', 'delivered', 'cancelled'],
  initial: 'created',
  transitions: [
    { from: 'created', event: 'PAY', to: 'paid', guard: 'ctx.total > 0' },
    { from: 'paid', event: 'SHIP', to: 'shipped' },
    { from: 'shipped', event: 'DELIVER', to: 'delivered' },
    { from: 'created', event: 'CANCEL', to: 'cancelled' },
  ],
}).withTypes<{ context: { item: string; total: number } }>();

const db = await Database.open(process.argv[2] ?? 'mem:');
const orders = db.machine(order);
await orders.putMachine();

const STATUS: { readonly [K in ErrorKind]?: number } = {
  not_found: 404,
  already_exists: 409,
  conflict: 409,
  rejected: 422,
  invalid: 400,
  unavailable: 503,
};

/** What was sent, and the request is too large for more than a small form. */
async function body(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = '';
  for await (const part of request.setEncoding('utf8')) {
    text += part;
    if (text.length > 65_536) throw new RangeError('the request is too large');
  }
  const value: unknown = JSON.parse(text || '{}');
  if (typeof value !== 'object' || value === null) throw new SyntaxError('expected a JSON object');
  return value as Record<string, unknown>;
}

function send(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

/** Every change, as server-sent events. A browser that comes back says where it stopped. */
async function live(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const { signal } = gone;
  // With the history beside the offset, data that was put back from a copy is an error and not a gap.
  const [last = '0', history] = String(request.headers['last-event-id'] ?? '0').split(' ');
  const from = { fromOffset: BigInt(last) + 1n, historyId: history || undefined };
  const watch = await orders.watchAll({ ...from, includeLifecycle: true }, { signal });
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  // The browser learns that it is connected before anything happens.
  response.flushHeaders();
  try {
    for await (const event of watch) {
      const { instanceId, event: name, kind, toState, timestamp, walOffset, historyId } = event;
      const data = JSON.stringify({ instanceId, event: name ?? kind, toState, timestamp });
      // A browser that reads slowly slows the watch down, and nothing piles up here.
      const sent = response.write(`id: ${walOffset} ${historyId ?? ''}\ndata: ${data}\n\n`);
      if (!sent)
        await new Promise((resolve) => response.once('drain', resolve).once('close', resolve));
    }
    response.end();
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

const PAGE = `<!doctype html><meta charset="utf-8"><title>Orders</title>
<body style="font: 1rem system-ui; max-width: 40rem; margin: 2rem auto">
<h1>Orders</h1><button id="new">New order</button><table id="rows" cellpadding="6"></table>
<script>
  const post = (path, value) => fetch(path, { method: 'POST', body: JSON.stringify(value) });
  document.getElementById('new').onclick = () => post('/orders', { item: 'tea', total: 40 });
  new EventSource('/live').onmessage = ({ data }) => {
    const { instanceId, toState } = JSON.parse(data);
    let row = document.getElementById(instanceId);
    if (!row) {
      row = document.getElementById('rows').insertRow();
      row.id = instanceId;
      row.insertCell().textContent = instanceId.slice(0, 8);
      row.insertCell();
      for (const event of ['PAY', 'SHIP', 'DELIVER', 'CANCEL']) {
        const button = row.insertCell().appendChild(document.createElement('button'));
        button.textContent = event;
        button.onclick = async () => {
          const answer = await post('/orders/' + instanceId + '/' + event, {});
          if (!answer.ok) alert((await answer.json()).message);
        };
      }
    }
    row.cells[1].textContent = toState;
  };
</script>`;

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [, first, id, event] = new URL(request.url ?? '/', 'http://x').pathname.split('/');
  if (request.method === 'GET' && first === '') {
    response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
  } else if (request.method === 'GET' && first === 'live') {
    await live(request, response);
  } else if (request.method === 'GET' && first === 'orders' && id) {
    send(response, 200, await orders.getInstance(decodeURIComponent(id)));
  } else if (request.method === 'POST' && first === 'orders' && !id) {
    const { item, total } = await body(request);
    const initialCtx = { item: String(item), total: Number(total) };
    send(response, 201, await orders.createInstance({ initialCtx }));
  } else if (request.method === 'POST' && first === 'orders' && id && event) {
    // The name comes from outside: the database says whether there is such an event.
    const applied = await db.applyEvent(decodeURIComponent(id), event, {
      payload: await body(request),
    });
    send(response, 200, applied);
  } else {
    send(response, 404, { message: `there is no ${request.method} ${request.url}` });
  }
}

const server = createServer((request, response) => {
  handle(request, response).catch((error: unknown) => {
    const known = error instanceof RstmdbError ? STATUS[error.kind] : undefined;
    const malformed = error instanceof SyntaxError || error instanceof RangeError;
    const status = known ?? (malformed ? 400 : 500);
    if (status === 500) console.error(error);
    if (response.headersSent) response.destroy();
    else send(response, status, { message: status === 500 ? 'a fault here' : String(error) });
  });
});

server.listen(Number(process.argv[3] ?? 3000), '127.0.0.1', () => {
  const address = server.address();
  if (typeof address === 'object') console.log(`http://127.0.0.1:${address?.port}/`);
});

process.once('SIGTERM', stop).once('SIGINT', stop);
async function stop(): Promise<void> {
  server.close();
  // Closing the database ends the watches, and with them the live pages.
  await db.close();
  server.closeAllConnections();
}
