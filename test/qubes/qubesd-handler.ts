/** A method of the Admin API as qubesd declares it: what a call must have, and what then happens. */

import type { Release } from './qubesd-properties.ts';
import type { Store, VmState } from './qubesd-state.ts';
import type { Emit, Vms } from './qubesd-vms.ts';
import type { Volumes } from './qubesd-volumes.ts';

export interface Qubesd {
  readonly store: Store;
  readonly volumes: Volumes;
  readonly vms: Vms;
  readonly emit: Emit;
  readonly release: Release;
}

export interface Call {
  readonly dest: VmState;
  readonly argument: string;
  /** The payload's bytes as latin1. */
  readonly payload: string;
}

type Answer = string | undefined | Promise<string | undefined>;

/** What a call must have: `true` needs it, `false` refuses it, `null` takes either. */
export interface Handler {
  readonly argument: boolean | null;
  readonly payload: boolean | null;
  readonly adminVm: boolean | null;
  readonly run: (qubesd: Qubesd, call: Call) => Answer;
}

export const lines = (items: readonly string[]): string => items.map((item) => `${item}\n`).join('');
export const method = (
  argument: boolean | null,
  payload: boolean | null,
  adminVm: boolean | null,
  run: Handler['run'],
): Handler => ({ argument, payload, adminVm, run });
/** Of a VM or of dom0, without a payload. */
export const ask = (run: Handler['run']): Handler => method(false, false, null, run);
export const askNamed = (run: Handler['run']): Handler => method(true, false, null, run);
export const give = (run: Handler['run']): Handler => method(true, true, null, run);
