/**
 * What has to compile, and what must not: each `@ts-expect-error` is an error when its line compiles.
 *
 * @module
 */

import { type Database, defineMachine, type Json, type JsonObject, type Offset } from 'rstmdb';

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** Compiles when both types are the same. */
function same<A, B>(_: Equal<A, B>): void {}

const order = defineMachine('order', 1, {
  states: ['created', 'paid', 'shipped'],
  initial: 'created',
  transitions: [
    { from: 'created', event: 'PAY', to: 'paid', guard: 'ctx.total > 0' },
    { from: ['paid', 'created'], event: 'SHIP', to: 'shipped' },
    { from: '*', event: 'RESET', to: 'created' },
  ],
  final: ['shipped'],
  meta: { owner: 'sales' },
});

export async function literals(db: Database): Promise<void> {
  const orders = db.machine(order);
  await orders.putMachine({ strict: true });
  await orders.createInstance({ instanceId: 'o', initialState: 'paid', initialCtx: { total: 1 } });
  const applied = await orders.applyEvent('o', 'PAY', { expectedState: 'created' });
  same<typeof applied.toState, 'created' | 'paid' | 'shipped'>(true);
  same<typeof applied.ctx, JsonObject>(true);
  same<typeof applied.walOffset, Offset>(true);
  // @ts-expect-error: no such event
  await orders.applyEvent('o', 'PYA');
  // @ts-expect-error: no such state
  await orders.applyEvent('o', 'PAY', { expectedState: 'payed' });
  // @ts-expect-error: no such state
  await orders.createInstance({ initialState: 'payed' });
  // @ts-expect-error: no such state
  await orders.listInstances({ state: 'payed' });
  // @ts-expect-error: no such event
  await orders.watchAll({ events: ['PYA'] });
  const read = await orders.getInstance('o');
  // @ts-expect-error: no such state
  if (read.state === 'payed') return;
  for await (const event of await orders.watchAll({ toStates: ['paid'] })) {
    same<typeof event.event, 'PAY' | 'SHIP' | 'RESET' | undefined>(true);
  }
}

const acting = defineMachine('acting', 1, {
  states: ['open', { name: 'busy', entry: [{ emit: 'begun', data: { n: { $: 'ctx.n' } } }] }],
  initial: 'open',
  merge: ['n'],
  transitions: [
    {
      from: 'open',
      event: 'GO',
      to: 'busy',
      actions: [
        { assign: { n: { $: 'coalesce(ctx.n, 0) + 1' }, 'by.whom': 'me' } },
        // biome-ignore lint/suspicious/noThenProperty: an action has it, and nothing waits for one.
        { if: 'ctx.n > 3', then: [{ unset: ['n'] }], else: [{ raise: 'GO', payload: { n: 1 } }] },
      ],
    },
    { from: 'open', event: 'NOTE', merge: false, actions: [{ emit: 'noted' }] },
    { from: 'busy', always: true, guard: 'ctx.n > 9', to: 'open' },
  ],
});

export async function actions(db: Database): Promise<void> {
  const all = db.machine(acting);
  const applied = await all.applyEvent('i', 'GO');
  same<typeof applied.toState, 'open' | 'busy'>(true);
  // @ts-expect-error: no such event
  await all.applyEvent('i', 'WENT');
}
defineMachine('m', 1, {
  states: ['a'],
  initial: 'a',
  // @ts-expect-error: no such action
  transitions: [{ from: 'a', event: 'E', to: 'a', actions: [{ asign: { n: 1 } }] }],
});

defineMachine('m', 1, {
  states: ['a'],
  initial: 'a',
  // @ts-expect-error: it leads nowhere and does nothing
  transitions: [{ from: 'a', event: 'E' }],
});
defineMachine('m', 1, {
  states: ['a'],
  initial: 'a',
  // @ts-expect-error: an event, and none
  transitions: [{ from: 'a', event: 'E', always: true, to: 'a' }],
});

// @ts-expect-error: no such state to begin in
defineMachine('m', 1, { states: ['a'], initial: 'b', transitions: [] });
defineMachine('m', 1, {
  states: ['a'],
  initial: 'a',
  // @ts-expect-error: no such state to go to
  transitions: [{ from: 'a', event: 'E', to: 'b' }],
});

interface Order {
  total: number;
  note?: string;
}

export async function contexts(db: Database): Promise<void> {
  const typed = order.withTypes<{
    context: Order;
    payloads: { PAY: { method: 'card' | 'cash' }; SHIP: { carrier: string } };
  }>();
  const orders = db.machine(typed);
  await orders.createInstance({ initialCtx: { total: 40 } });
  // @ts-expect-error: not such a context
  await orders.createInstance({ initialCtx: { sum: 40 } });
  await orders.applyEvent('o', 'PAY', { payload: { method: 'card' } });
  // @ts-expect-error: not such a payload
  await orders.applyEvent('o', 'PAY', { payload: { carrier: 'ACME' } });
  // @ts-expect-error: still no such event
  await orders.applyEvent('o', 'PYA');
  const { ctx, state } = await orders.getInstance('o');
  same<typeof ctx, Order>(true);
  same<typeof state, 'created' | 'paid' | 'shipped'>(true);
  const { ctx: asserted } = await db.getInstance<{ context: Order }>('o');
  same<typeof asserted.total, number>(true);
}

const constant = {
  states: ['off', 'on'],
  initial: 'off',
  transitions: [{ from: 'off', event: 'PRESS', to: 'on' }],
} as const;

export async function definitions(db: Database): Promise<void> {
  const lamps = db.machine('lamp', 1, constant);
  await lamps.applyEvent('l', 'PRESS');
  // @ts-expect-error: no such event
  await lamps.applyEvent('l', 'PUSH');
  await db.machine('lamp', 1).applyEvent('l', 'ANYTHING');
  await db.putMachine('lamp', 1, constant);
}

export async function operations(db: Database, signal: AbortSignal): Promise<void> {
  await db.applyEvent('i', 'E', { payload: new Date(), expectedWalOffset: 5n, signal });
  await db.applyEvent({ instanceId: 'i', event: 'E', payload: [1n] }, { signal });
  // @ts-expect-error: event is missing
  await db.applyEvent({ instanceId: 'i' });
  // @ts-expect-error: misspelled
  await db.applyEvent('i', 'E', { expected_state: 'a' });
  // @ts-expect-error: a version is a number
  await db.getMachine('m', '1');
  const { events } = await db.history('i', { order: 'oldest', limit: 3 });
  same<(typeof events)[number]['payload'], Json>(true);
  const { results } = await db.batch(
    [{ op: 'applyEvent', params: { instanceId: 'i', event: 'E' } }],
    { mode: 'atomic' },
  );
  for (const outcome of results) {
    if (outcome.status === 'ok') void outcome.result;
    else void outcome.error.code;
    // @ts-expect-error: which of them is known only after looking
    void outcome.error;
  }
  // A newer server may have other kinds.
  if (events[0]?.kind === 'rescheduled') void events[0].payload;
  // @ts-expect-error: results can't be changed
  events[0].walOffset = 5;
  const { records } = await db.walRead(1);
  for (const { entry } of records) {
    if (entry.type === 'apply_event') same<typeof entry.toState, string>(true);
    if (entry.type === 'other') same<typeof entry.raw.type, string>(true);
  }
  await using watch = await db.watchAll({ fromOffset: 1 });
  for await (const event of watch) same<typeof event.timestamp, Date | undefined>(true);
}
