/**
 * The process of a hostile service. `script.json` beside it says what to play: one conversation over its stdio; or, with
 * `hosted`, as many as come, each in messages (mux.ts) over its stdio.
 */

import { closeSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MESSAGE, MuxReader, PIECE, muxBytes } from './mux.ts';
import type { MuxMessage } from './mux.ts';
import { Conversation } from './conversation.ts';
import type { Ending, Live, Outlet } from './conversation.ts';
import type { Script } from './attack.ts';

export type Assignment = { readonly hosted: true } | { readonly hosted: false; readonly script: Script };

/** The real service behind a script without a recording. */
async function liveOf({ service, steps, attack }: Script): Promise<Live | undefined> {
  if (steps !== undefined) return undefined;
  const { storageServices } = await import('./storage-services.ts');
  const home = process.env['HOME'] ?? process.cwd();
  return storageServices(join(home, attack.discards ? 'discarded' : 'qubes-backup')).get(service);
}

function write(stream: NodeJS.WritableStream, bytes: Uint8Array | string): Promise<void> {
  return new Promise((resolve) => {
    stream.write(bytes, () => resolve()); // Who reads may go away at any time: that is not the peer's business.
  });
}

for (const stream of [process.stdin, process.stdout, process.stderr]) stream.on('error', () => undefined);

/** Plays one script over stdio, and ends as it says. */
async function playAlone(script: Script): Promise<void> {
  const outlet: Outlet = {
    livesOn: false,
    say: (bytes) => write(process.stdout, bytes),
    complain: (text) => write(process.stderr, text),
    close: () => closeSync(1),
  };
  const live = await liveOf(script);
  const conversation = new Conversation(script, outlet);
  process.stdin.on('data', (bytes: Buffer) => conversation.hear(bytes));
  process.stdin.on('end', () => conversation.hangUp());
  leave(await conversation.run(live));
}

function leave(ending: Ending): void {
  if (ending === 'died') process.kill(process.pid, 'SIGKILL');
  else process.exit(ending);
}

/** Plays scripts as they come, until stdin ends. */
function playAll(): void {
  const reader = new MuxReader();
  let current: { number: number; conversation: Conversation } | undefined;
  const open = async (number: number, script: Script) => {
    const tell = (kind: number, bytes: Uint8Array) => write(process.stdout, muxBytes(kind, number, bytes));
    const conversation = new Conversation(script, {
      livesOn: true,
      say: async (bytes) => {
        for (let at = 0; at < bytes.length; at += PIECE)
          await tell(MESSAGE.data, bytes.subarray(at, at + PIECE));
      },
      complain: (text) => tell(MESSAGE.complaint, Buffer.from(text, 'utf8')),
      close: () => void tell(MESSAGE.closed, Buffer.alloc(0)),
    });
    current = { number, conversation };
    const ending = await conversation.run(await liveOf(script));
    await tell(MESSAGE.ended, Buffer.from(String(ending), 'latin1'));
  };
  const take = ({ kind, conversation: number, bytes }: MuxMessage) => {
    if (kind === MESSAGE.open) void open(number, JSON.parse(bytes.toString('utf8')) as Script);
    else if (number !== current?.number) return;
    else if (kind === MESSAGE.data) current.conversation.hear(bytes);
    else current.conversation.hangUp();
  };
  process.stdin.on('data', (bytes: Buffer) => reader.take(bytes).forEach(take));
  process.stdin.on('end', () => process.exit(0));
}

const file = join(import.meta.dirname, '..', 'script.json');
const assignment = JSON.parse(readFileSync(file, 'utf8')) as Assignment;
if (assignment.hosted) playAll();
else await playAlone(assignment.script);
