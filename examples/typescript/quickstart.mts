// Define, create, apply, read, be refused.

import { Database, defineMachine, InvalidTransitionError } from 'rstmdb';

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

const db = await Database.open(process.argv[2] ?? 'mem:');
const orders = db.machine(order);
await orders.putMachine();

const { instanceId } = await orders.createInstance({ initialCtx: { total: 40 } });
const paid = await orders.applyEvent(instanceId, 'PAY', { payload: { method: 'card' } });
console.log(`${paid.fromState} -> ${paid.toState}`, paid.ctx);

try {
  await orders.applyEvent(instanceId, 'CANCEL');
} catch (error) {
  if (!(error instanceof InvalidTransitionError)) throw error;
  console.log(`refused: ${error.message}`);
}

for (const event of (await orders.history(instanceId, { order: 'oldest' })).events) {
  console.log(event.walOffset, event.event ?? event.kind, event.toState);
}
await db.close();
