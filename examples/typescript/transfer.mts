// An atomic batch over two instances: both change, or neither.

import { Database, defineMachine } from 'rstmdb';

const account = defineMachine('balance', 1, {
  states: ['open', 'closed'],
  initial: 'open',
  transitions: [
    { from: 'open', event: 'SET', to: 'open' },
    { from: 'open', event: 'CLOSE', to: 'closed' },
  ],
});

const db = await Database.open(process.argv[2] ?? 'mem:');
const accounts = db.machine(account);
await accounts.putMachine();
const from = (await accounts.createInstance({ initialCtx: { balance: 100 } })).instanceId;
const to = (await accounts.createInstance({ initialCtx: { balance: 0 } })).instanceId;

async function transfer(amount: number) {
  const [giver, taker] = await Promise.all([db.getInstance(from), db.getInstance(to)]);
  const set = (instance: typeof giver, change: number) => ({
    op: 'applyEvent' as const,
    params: {
      instanceId: instance.instanceId,
      event: 'SET',
      payload: { balance: Number(instance.ctx.balance) + change },
      // Refused when someone else changed it since it was read.
      expectedWalOffset: instance.lastWalOffset,
    },
  });
  await db.batch([set(giver, -amount), set(taker, amount)], { mode: 'atomic' });
}

await transfer(30);
await accounts.applyEvent(to, 'CLOSE');
const refused = await transfer(30).catch((error: Error) => error.message);
console.log(`refused: ${refused}`);
const balances = await Promise.all([from, to].map(async (id) => (await db.getInstance(id)).ctx));
console.log(balances);
if (JSON.stringify(balances) !== '[{"balance":70},{"balance":30}]') throw new Error('half of it');
await db.close();
