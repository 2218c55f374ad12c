/**
 * The same package by `import`, and the names of `@rstmdb/client`.
 *
 * @module
 */

import { ConflictError, Database, type ErrorCode, RstmdbError } from 'rstmdb';
import {
  type ApplyEventResult,
  AuthenticationError,
  Client,
  ClientOptions,
  type Instance,
  type ServerInfo,
  type StreamEvent,
} from 'rstmdb/client';

export async function open(): Promise<ErrorCode | undefined> {
  await using db = await Database.open('rstmdb://localhost', { token: 't', tls: { ca: 'ca.pem' } });
  try {
    await db.ping();
  } catch (error) {
    if (error instanceof ConflictError) return error.code;
    if (error instanceof RstmdbError) void error.context.state;
  }
  // @ts-expect-error: no such option
  await Database.open('mem:', { fsink: 'never' });
  return undefined;
}

export async function documented(): Promise<void> {
  const config = ClientOptions.create('localhost').port(7401).auth('t').requestTimeout(1).build();
  const client = new Client(config);
  await client.connect();
  const made: Instance = await client.createInstance({
    machine: 'm',
    version: 1,
    id: 'i',
    context: {},
  });
  const applied: ApplyEventResult = await client.applyEvent({ instanceId: made.id, event: 'E' });
  const states: string[] = [applied.previousState, applied.currentState];
  const info: ServerInfo = await client.info();
  void [states, info.stats.instances, AuthenticationError];
  const stream = await client.watchAll({ machines: ['m'], toStates: ['a'] });
  stream.on('event', (event: StreamEvent) => void event.toState);
  for await (const event of client.watchInstance('i')) void event.instanceId;
  await stream.close();
  await client.close();
}
