// A worker that ships what was paid, and resumes where it stopped: run it as often as you like.
//
//   node worker.mjs [path or URL] [file to remember the place in]

import { readFile, rename, writeFile } from 'node:fs/promises';
import {
  ConflictError,
  Database,
  defineMachine,
  InvalidTransitionError,
  NotFoundError,
} from 'rstmdb';

const order = defineMachine('order', 1, {
  states: ['created', 'paid', 'shipped', 'delivered', 'cancelled'],
  initial: 'created',
  transitions: [
    { from: 'created', event: 'PAY', to: 'paid', guard: 'ctx.total > 0' },
    { from: 'paid', event: 'SHIP', to: 'shipped' },
    { from: 'shipped', event: 'DELIVER', to: 'delivered' },
    { from: 'created', event: 'CANCEL', to: 'cancelled' },
  ],
});
const [, , url = 'mem:', place = 'worker-place.txt'] = process.argv;

const stopping = new AbortController();
process.once('SIGTERM', () => stopping.abort()).once('SIGINT', () => stopping.abort());

const db = await Database.open(url);
const orders = db.machine(order);
await orders.putMachine();
// Something to do, for those who try it.
const { instanceId } = await orders.createInstance({ initialCtx: { total: 40 } });
await orders.applyEvent(instanceId, 'PAY');

/**
 * The place to go on from, the beginning when there is none yet: an offset, and the history that it was
 * told in, so that data that was put back from a copy is an error and not a gap.
 */
async function remembered(): Promise<{ fromOffset: bigint; historyId: string | undefined }> {
  const text = await readFile(place, 'utf8').catch(() => '1');
  const [offset = '1', historyId] = text.trim().split(' ');
  return { fromOffset: BigInt(offset), historyId: historyId || undefined };
}

/** By way of another file, so that a power cut leaves one of both whole. */
async function remember(offset: number | bigint, historyId = ''): Promise<void> {
  await writeFile(`${place}.new`, `${offset} ${historyId}\n`);
  await rename(`${place}.new`, place);
}

const { signal } = stopping;
const from = await remembered();
const watch = await orders.watchAll({ ...from, toStates: ['paid'] }, { signal });
console.log(`watching from ${from.fromOffset}`);
try {
  for await (const event of watch) {
    try {
      // Seen twice, after a crash before `remember`, it is shipped once: the key says so.
      const idempotencyKey = `ship-${event.instanceId}-${event.walOffset}`;
      const { applied } = await orders.applyEvent(event.instanceId, 'SHIP', {
        expectedState: 'paid',
        idempotencyKey,
      });
      console.log(`${event.instanceId} ${applied ? 'shipped' : 'was shipped before'}`);
    } catch (error) {
      // Someone else was faster, or has deleted it.
      const gone = [ConflictError, InvalidTransitionError, NotFoundError];
      if (!gone.some((kind) => error instanceof kind)) throw error;
      console.log(`${event.instanceId} went on without us`);
    }
    await remember(watch.resumeOffset, watch.historyId);
  }
} catch (error) {
  if (!signal.aborted) throw error;
  console.log('stopped');
} finally {
  await db.close();
}
