/**
 * Definitions of machines, and what the compiler knows of them.
 *
 * @module
 */

import type { Json, JsonInput, JsonObject } from './json.js';

/**
 * What the compiler may know of a machine; what is absent can be anything. Hand it to a method to
 * say what to expect: `db.getInstance<{ context: Order }>(id)`.
 */
export interface MachineTypes {
  /** The names of the states. */
  readonly state?: string;
  /** The names of the events. */
  readonly event?: string;
  /** What the context looks like; an object unless said otherwise. */
  readonly context?: unknown;
  /** What the payload of each event looks like. */
  readonly payloads?: object;
}

/** A machine of which nothing is known. */
export type AnyMachine = MachineTypes;

/** The states of a machine. */
export type StateOf<M extends MachineTypes> = M extends { readonly state: infer S extends string }
  ? S
  : string;

/** The events of a machine. */
export type EventOf<M extends MachineTypes> = M extends { readonly event: infer E extends string }
  ? E
  : string;

/** The context of an instance, as it is read. */
export type ContextOf<M extends MachineTypes> = M extends { readonly context: infer C }
  ? C
  : JsonObject;

/** The context of an instance, as it is given. */
export type ContextInput<M extends MachineTypes> = M extends { readonly context: infer C }
  ? C
  : JsonInput;

/** The payload of an event, as it is read: `null` when the event had none. */
export type PayloadOf<M extends MachineTypes> = M extends {
  readonly payloads: infer P extends object;
}
  ? P[keyof P] | null
  : Json;

/** The payload of an event, as it is given. */
export type PayloadInput<M extends MachineTypes, E extends string = string> = M extends {
  readonly payloads: infer P extends object;
}
  ? E extends keyof P
    ? P[E]
    : string extends E
      ? P[keyof P]
      : JsonInput
  : JsonInput;

/** A transition of a machine. */
export type Transition<S extends string = string, E extends string = string> = {
  /** The state it leads out of, several of them, or `*` for all without one of their own. */
  readonly from: NoInfer<S> | '*' | readonly NoInfer<S>[];
  /** An expression over `ctx` and `payload` that must hold, such as `ctx.total > 0`. */
  readonly guard?: string | undefined;
  /** What of the payload is merged into the context: all, nothing, or the members with these names. */
  readonly merge?: boolean | readonly string[] | undefined;
} & (
  | {
      /** The event it takes. */
      readonly event: E;
      readonly always?: undefined;
    }
  | {
      /** It takes no event and is taken as soon as the guard holds. */
      readonly always: true;
      readonly event?: undefined;
    }
) &
  (
    | {
        /** The state it leads to. */
        readonly to: NoInfer<S>;
        /** What is done when it is taken. */
        readonly actions?: readonly Action[] | undefined;
      }
    | {
        /** Nothing is left or entered. */
        readonly to?: undefined;
        /** What is done when it is taken. */
        readonly actions: readonly Action[];
      }
  );

/**
 * Something that is done. Values are JSON as it stands, but for `{ $: 'ctx.tries + 1' }` at any depth, which is what
 * the expression comes to; `{ $$: x }` is `x` as it stands.
 */
export type Action =
  | {
      /** Sets members of the context, by paths such as `customer.name`. */
      readonly assign: { readonly [path: string]: JsonInput };
    }
  | {
      /** Removes members of the context. */
      readonly unset: readonly string[];
    }
  | {
      /** An expression that chooses between the actions of `then` and of `else`. */
      readonly if: string;
      readonly then?: readonly Action[] | undefined;
      readonly else?: readonly Action[] | undefined;
    }
  | {
      /** An event that the machine raises itself, handled before the step ends. */
      readonly raise: string;
      readonly payload?: JsonInput | undefined;
    }
  | {
      /** Says something to who watches: it stands with the event as `emitted`. */
      readonly emit: string;
      readonly data?: JsonInput | undefined;
    };

/** A state that does something. */
export interface State<S extends string = string> {
  /** Its name. */
  readonly name: S;
  /** What is done when it is entered. */
  readonly entry?: readonly Action[] | undefined;
  /** What is done when it is left. */
  readonly exit?: readonly Action[] | undefined;
  /** Whether instances are completed in it. */
  readonly final?: boolean | undefined;
  /** Anything that is to be kept with the state. */
  readonly meta?: JsonInput | undefined;
}

/** A machine: its states, where instances begin, and which event leads where. */
export interface MachineDefinition<S extends string = string, E extends string = string> {
  /** All states: names, or objects where one does something. */
  readonly states: readonly (S | State<S>)[];
  /** The state instances begin in. */
  readonly initial: NoInfer<S>;
  /** Which event leads where. */
  readonly transitions: readonly Transition<S, E>[];
  /** States that nothing leads out of, not even `*`. */
  readonly final?: readonly NoInfer<S>[] | undefined;
  /** Anything that is to be kept with the definition. */
  readonly meta?: JsonInput | undefined;
  /** What of payloads is merged into the context, where a transition does not say it. */
  readonly merge?: boolean | readonly string[] | undefined;
}

/** A definition with its name and version, whose states and events the compiler knows. */
export interface DefinedMachine<M extends MachineTypes = AnyMachine> {
  /** The machine's name. */
  readonly name: string;
  /** The machine's version. */
  readonly version: number;
  /** The definition. */
  readonly definition: MachineDefinition;
  /**
   * The same machine, and the compiler knows its context and payloads too:
   * `.withTypes<{ context: Order; payloads: { PAY: { method: string } } }>()`.
   */
  withTypes<T extends Pick<MachineTypes, 'context' | 'payloads'>>(): DefinedMachine<
    Omit<M, keyof T> & T
  >;
  /** For the compiler alone; there is no such member. */
  readonly '~types'?: M;
}

/**
 * Names a definition. States and events become literal types, so that a misspelled one does not
 * compile, neither here nor in `db.machine(order).applyEvent(id, 'PYA')`.
 */
export function defineMachine<const S extends string, const E extends string>(
  name: string,
  version: number,
  definition: MachineDefinition<S, E>,
): DefinedMachine<{ readonly state: S; readonly event: E }> {
  const defined = {
    name,
    version,
    definition: definition as MachineDefinition,
    withTypes: () => defined,
  };
  return Object.freeze(defined) as unknown as DefinedMachine<{
    readonly state: S;
    readonly event: E;
  }>;
}
