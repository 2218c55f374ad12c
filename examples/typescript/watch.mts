// Follow events, stop, and resume where it stopped.

import { Database, defineMachine } from 'rstmdb';

const lamp = defineMachine('lamp', 1, {
  states: ['off', 'on'],
  initial: 'off',
  transitions: [
    { from: 'off', event: 'PRESS', to: 'on' },
    { from: 'on', event: 'PRESS', to: 'off' },
  ],
});

const db = await Database.open(process.argv[2] ?? 'mem:');
const lamps = db.machine(lamp);
await lamps.putMachine();
const { instanceId } = await lamps.createInstance();

const watch = await db.watchInstance(instanceId);
for (let count = 0; count < 3; count += 1) await lamps.applyEvent(instanceId, 'PRESS');
const { value: first } = await watch.next();
console.log(`${first?.instanceId} is ${first?.toState}`);

// A worker that remembers this place misses nothing, whatever happens in between. With the offset alone it
// would not notice that a copy of the data was put back, where offsets mean other changes.
const { resumeOffset: fromOffset, historyId } = watch;
await watch.close();

const resumed: string[] = [];
for await (const event of await db.watchInstance(instanceId, { fromOffset, historyId })) {
  console.log(`${event.instanceId} is ${event.toState}`);
  resumed.push(event.toState ?? '');
  if (resumed.length === 2) break;
}
if (resumed.join() !== 'off,on') throw new Error(`resumed with ${resumed}`);
await db.close();
