/**
 * One machine of a database, whose states and events the compiler may know.
 *
 * @module
 */

import type { Database } from './database.js';
import { refuse } from './errors.js';
import type {
  AnyMachine,
  EventOf,
  MachineDefinition,
  MachineTypes,
  PayloadInput,
} from './machine.js';
import type { CallOptions, Rest } from './spec.js';
import type * as types from './types.js';
import type { Watch } from './watch.js';

type Named = 'machine' | 'version';

/**
 * The operations of a database on one machine: what is about the machine goes without its name, and
 * a state or event that it does not have does not compile.
 */
export class MachineHandle<M extends MachineTypes = AnyMachine> {
  /** The machine's name. */
  readonly name: string;
  /** The machine's version. */
  readonly version: number;
  readonly #db: Database;
  readonly #definition: MachineDefinition | undefined;

  /** @internal */
  constructor(db: Database, name: string, version: number, definition?: MachineDefinition) {
    this.#db = db;
    this.name = name;
    this.version = version;
    this.#definition = definition;
  }

  /** Stores the definition that the handle was made with. Storing it again changes nothing. */
  async putMachine(
    options?: Rest<types.PutMachineRequest, Named | 'definition'>,
  ): Promise<types.PutMachineResult> {
    if (this.#definition === undefined) {
      throw refuse(
        `the handle of machine ${JSON.stringify(this.name)} has no definition; make it with defineMachine`,
        { machine: this.name },
      );
    }
    return this.#db.putMachine(this.name, this.version, this.#definition, options);
  }

  /** Returns the definition as the database has it. */
  getMachine(options?: CallOptions): Promise<types.GetMachineResult> {
    return this.#db.getMachine(this.name, this.version, options);
  }

  /** Creates an instance. */
  createInstance(
    options?: Rest<types.CreateInstanceRequest<M>, Named>,
  ): Promise<types.CreateInstanceResult<M>> {
    return this.#db.createInstance<M>(this.name, this.version, options);
  }

  /** Applies an event to an instance. */
  applyEvent<const E extends EventOf<M>>(
    instanceId: string,
    event: E,
    options?: Omit<Rest<types.ApplyEventRequest<M>, 'instanceId' | 'event'>, 'payload'> & {
      /** Merged into the context after the guard passed. */
      readonly payload?: PayloadInput<M, E> | undefined;
    },
  ): Promise<types.ApplyEventResult<M>> {
    const given = options as Rest<types.ApplyEventRequest<M>, 'instanceId' | 'event'> | undefined;
    return this.#db.applyEvent<M>(instanceId, event, given);
  }

  /** Returns the state and context of an instance. */
  getInstance(instanceId: string, options?: CallOptions): Promise<types.GetInstanceResult<M>> {
    return this.#db.getInstance<M>(instanceId, options);
  }

  /** Deletes an instance. */
  deleteInstance(
    instanceId: string,
    options?: Rest<types.DeleteInstanceRequest, 'instanceId'>,
  ): Promise<types.DeleteInstanceResult> {
    return this.#db.deleteInstance(instanceId, options);
  }

  /** Lists instances of this version of the machine, a page at a time. */
  listInstances(
    request?: Omit<types.ListInstancesRequest<M>, Named>,
    options?: CallOptions,
  ): Promise<types.ListInstancesResult<M>> {
    return this.#db.listInstances<M>({ ...request, ...this.#named() }, options);
  }

  /** Counts instances of this version of the machine by state. */
  countInstances(
    request?: Omit<types.CountInstancesRequest<M>, Named>,
    options?: CallOptions,
  ): Promise<types.CountInstancesResult<M>> {
    return this.#db.countInstances<M>({ ...request, ...this.#named() }, options);
  }

  /** Says which events an instance would accept now. */
  permitted(
    instanceId: string,
    options?: Rest<types.PermittedRequest<M>, 'instanceId'>,
  ): Promise<types.PermittedResult<M>> {
    return this.#db.permitted<M>(instanceId, options);
  }

  /** Returns the events of one instance. */
  history(
    instanceId: string,
    options?: Rest<types.HistoryRequest, 'instanceId'>,
  ): Promise<types.HistoryResult<M>> {
    return this.#db.history<M>(instanceId, options);
  }

  /** Follows the events of one instance. */
  watchInstance(
    instanceId: string,
    options?: Rest<types.WatchInstanceRequest, 'instanceId'>,
  ): Promise<Watch<types.WatchInstanceResult<M>, M>> {
    return this.#db.watchInstance<M>(instanceId, options);
  }

  /** Follows the events of all instances of the machine, in every version of it. */
  watchAll(
    request?: Omit<types.WatchAllRequest<M>, 'machines'>,
    options?: CallOptions,
  ): Promise<Watch<types.WatchAllResult, M>> {
    return this.#db.watchAll<M>({ ...request, machines: [this.name] }, options);
  }

  #named(): { machine: string; version: number } {
    return { machine: this.name, version: this.version };
  }
}
