/**
 * Questions about snapshots to a disposable: qubes.BackupBrowse and qubes.BackupCompare. Answers come in pages, each
 * checked by schema and shown before the next is taken; there can be no more of them than the question allows.
 */

import { BackupError } from '../../shared/errors.ts';
import { browse, compare } from '../../shared/protocol/browse.ts';
import type { Difference, ListEntry, Need, Question, Version } from '../../shared/protocol/browse.ts';
import type { ValueOf } from '../../shared/wire/frame.ts';
import type { Message } from '../../shared/wire/session.ts';
import type { ServiceCall } from '../domains/domains.ts';
import { blobServer, receiveResult, takeCommon, withCall } from './read-sessions.ts';
import type { BlobAccess } from './read-sessions.ts';
import { NoteCounter } from './report.ts';
import type { Listener } from './report.ts';

/** Shows what came in; the session goes on when it settles. */
export type Show<T> = (rows: readonly T[]) => Promise<void>;

/** A question that is answered with entries of one snapshot. */
export type EntriesQuestion = Extract<Question, { kind: 'list' | 'find' }>;

type CompareJob = ValueOf<typeof compare.toService.job>;

/**
 * Entries of a snapshot, at most `limit` of them. False if the path is not there. Throws `protocol` if the disposable
 * breaks the rules.
 */
export async function runEntries(
  call: ServiceCall,
  access: BlobAccess,
  question: EntriesQuestion,
  limit: number,
  show: Show<ListEntry>,
): Promise<boolean> {
  const shown = new Limited(limit, show);
  return ask(call, access, question, 'entries', ({ value }) => shown.take(value.entries));
}

/** The versions of one path in the trees `question.tops`: all of them in order. False if it is in none. */
export async function runHistory(
  call: ServiceCall,
  access: BlobAccess,
  question: Extract<Question, { kind: 'history' }>,
  show: Show<Version>,
): Promise<boolean> {
  const { tops } = question;
  let next = 0;
  const take = async ({ value: { versions } }: AnswerOf<'versions'>) => {
    for (const { newest, oldest } of versions) {
      if (newest !== next || oldest < newest || oldest >= tops.length)
        throw new BackupError('protocol', 'sent versions out of order');
      next = oldest + 1;
    }
    await show(versions);
  };
  return ask(call, access, question, 'versions', take, () => {
    if (next < tops.length) throw new BackupError('protocol', 'left out versions of the path');
  });
}

/**
 * What of the trees `question.tops` needs the blobs that it names: at most `limit` rows, those of one tree together, in the order
 * of the trees.
 */
export async function runNeeding(
  call: ServiceCall,
  access: BlobAccess,
  question: Extract<Question, { kind: 'needing' }>,
  limit: number,
  show: Show<Need>,
): Promise<void> {
  const shown = new Limited(limit, show);
  let last = 0;
  await ask(call, access, question, 'needs', async ({ value: { needs } }) => {
    for (const { top } of needs) {
      if (top < last || top >= question.tops.length)
        throw new BackupError('protocol', 'sent parts of trees out of order');
      last = top;
    }
    await shown.take(needs);
  });
}

type Answers = Exclude<Message<typeof browse.toCaller>, { name: 'get' | 'done' }>;
type AnswerOf<N> = Extract<Answers, { readonly name: N }>;

/** Asks `question`, to which only messages of `name` are an answer: `take` judges each, and `end` that there is no more. */
async function ask<N extends Answers['name']>(
  call: ServiceCall,
  access: BlobAccess,
  question: Question,
  name: N,
  take: (answer: AnswerOf<N>) => Promise<void>,
  end: () => void = () => undefined,
): Promise<boolean> {
  const isAnswer = (message: Answers): message is AnswerOf<N> => message.name === name;
  return withCall(call, browse, async ({ session }, fail) => {
    const server = blobServer(access, (pieces) => session.send('blob', pieces), fail);
    await session.send('job', question);
    const done = await receiveResult(session, async (message) => {
      if (message.name === 'get') server.request(message.value.numbers);
      else if (isAnswer(message)) await take(message);
      else throw new BackupError('protocol', `sent ${message.name}, which was not asked for`);
    });
    server.stop();
    end();
    return done.value.found;
  });
}

export interface Compared {
  /** Entries that were not compared, because one side leaves them out or cannot read them. */
  readonly leftOut: number;
}

/** All differences, at most `limit` of them. */
export async function runCompare(
  call: ServiceCall,
  access: BlobAccess,
  job: CompareJob,
  limit: number,
  show: Show<Difference>,
  listener: Listener,
): Promise<Compared> {
  const shown = new Limited(limit, show);
  return withCall(call, compare, async ({ session }, fail) => {
    const notes = new NoteCounter(listener);
    const server = blobServer(access, (pieces) => session.send('blob', pieces), fail);
    await session.send('job', job);
    const done = await receiveResult(session, async (message) => {
      if (message.name === 'differences') await shown.take(message.value.differences);
      else takeCommon(message, listener, notes, server);
    });
    server.stop();
    return done.value;
  });
}

/** Rows of which there may only be so many. */
class Limited<T> {
  #left: number;
  readonly #show: Show<T>;

  constructor(limit: number, show: Show<T>) {
    this.#left = limit;
    this.#show = show;
  }

  async take(rows: readonly T[]): Promise<void> {
    this.#left -= rows.length;
    if (this.#left < 0) throw new BackupError('protocol', 'answers with more than there can be');
    await this.#show(rows);
  }
}
