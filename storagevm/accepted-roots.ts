/**
 * The roots that a sweeper elsewhere has accepted. The newest of them, and the newest with a live list, are kept in its ledger as they
 * were then: what stands under their numbers by now may be anybody's.
 *
 *     sweeper        below
 */

import { join } from 'node:path';
import * as z from 'zod';
import { rootHashOf } from '../shared/ids.ts';
import type { RootHash } from '../shared/ids.ts';
import type { BackEnd } from './back-end.ts';
import { readJson, writeJson } from './ledger/json.ts';
import type { Ledger } from './ledger/ledger.ts';
import { Roots } from './roots.ts';
import type { NumberedRoot } from './roots.ts';

const root = z.nullable(z.strictObject({ number: z.int().min(1), bytes: z.base64() }));
const state = z.strictObject({
  /** This machine's clock when it last began to look, milliseconds since 1970. */
  looked: z.int(),
  newest: root,
  list: root,
});

export interface Accepted {
  readonly looked: number;
  /** Null before there was one. */
  readonly newest: NumberedRoot | null;
  /** The newest with a live list. */
  readonly list: NumberedRoot | null;
}

export class AcceptedRoots extends Roots {
  readonly #file: string;

  constructor(backEnd: BackEnd, ledger: Ledger, folder: string) {
    super(backEnd, ledger);
    this.#file = join(folder, 'sweeper');
  }

  /** Undefined before this machine first looked. */
  async accepted(): Promise<Accepted | undefined> {
    const found = await readJson(this.#file, state);
    return found && { looked: found.looked, newest: decode(found.newest), list: decode(found.list) };
  }

  accept(looked: number, { newest, list }: Pick<Accepted, 'newest' | 'list'>): Promise<void> {
    return writeJson(this.#file, state, { looked, newest: encode(newest), list: encode(list) });
  }

  override async newest(): Promise<NumberedRoot | undefined> {
    return (await this.accepted())?.newest ?? undefined;
  }

  override async read(number: number): Promise<NumberedRoot | undefined> {
    const { newest, list } = (await this.accepted()) ?? { newest: null, list: null };
    return [newest, list].find((one) => one?.number === number) ?? super.read(number);
  }

  override async numbers(): Promise<number[]> {
    const newest = (await this.newest())?.number ?? 0;
    return (await super.numbers()).filter((number) => number <= newest);
  }

  async hashOf(number: number): Promise<RootHash | undefined> {
    const found = await this.read(number);
    return found && rootHashOf(found.bytes);
  }
}

function encode(one: NumberedRoot | null): z.output<typeof root> {
  return one && { number: one.number, bytes: Buffer.from(one.bytes).toString('base64') };
}

function decode(one: z.output<typeof root>): NumberedRoot | null {
  return one && { number: one.number, bytes: Buffer.from(one.bytes, 'base64') };
}
