// Idempotency keys: a retry gets the first answer.

import { Database, defineMachine, RstmdbError } from 'rstmdb';

const account = defineMachine('deposits', 1, {
  states: ['open'],
  initial: 'open',
  transitions: [{ from: 'open', event: 'DEPOSIT', to: 'open' }],
});

const db = await Database.open(process.argv[2] ?? 'mem:');
const accounts = db.machine(account);
await accounts.putMachine();
const { instanceId } = await accounts.createInstance({ initialCtx: { balance: 0 } });

/** Repeats what can be repeated; the key makes sure that it happens once. */
async function deposit(balance: number, idempotencyKey: string) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await accounts.applyEvent(instanceId, 'DEPOSIT', {
        payload: { balance },
        idempotencyKey,
      });
    } catch (error) {
      if (!(error instanceof RstmdbError && error.retryable) || attempt === 5) throw error;
    }
  }
}

const first = await deposit(100, 'payment-1');
const again = await deposit(100, 'payment-1');
console.log(`first: applied ${first.applied} at ${first.walOffset}`);
console.log(`again: applied ${again.applied} at ${again.walOffset}`);
if (again.applied || again.walOffset !== first.walOffset) throw new Error('it happened twice');
await db.close();
