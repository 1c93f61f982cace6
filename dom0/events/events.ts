/**
 * Every event of `--json`: one JSON object a line on stdout, whose `event` names it. docs/json.md is made of this, and tests hold all
 * that commands print against it. The program itself does not load it.
 */

import * as z from 'zod';
import type { EventSpec } from './kit.ts';
import { MACHINE_EVENTS } from './machine.ts';
import { RUN_EVENTS } from './runs.ts';
import { SNAPSHOT_EVENTS } from './snapshots.ts';
import { STORE_EVENTS } from './stores.ts';

/** The events by what they are about, in the order of the document. */
export const EVENT_GROUPS: readonly (readonly [string, Readonly<Record<string, EventSpec>>])[] = [
  ['Runs', RUN_EVENTS],
  ['Snapshots and what they hold', SNAPSHOT_EVENTS],
  ['Stores, keys and roots', STORE_EVENTS],
  ['This machine', MACHINE_EVENTS],
];

/** By name. */
export const EVENTS: ReadonlyMap<string, EventSpec> = new Map(
  EVENT_GROUPS.flatMap(([, events]) => Object.entries(events)),
);

const named = z.looseObject({ event: z.string() });

/** What is wrong with one event, for people; undefined if it is as documented. */
export function eventProblem(value: unknown): string | undefined {
  const found = named.safeParse(value);
  if (!found.success) return 'it is no object with a name';
  const { event: name, ...fields } = found.data;
  const spec = EVENTS.get(name);
  if (spec === undefined) return `there is no event ${name}`;
  const result = spec.schema.safeParse(fields);
  return result.success ? undefined : `event ${name}: ${z.prettifyError(result.error)}`;
}
