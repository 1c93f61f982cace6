/**
 * Loaded first into each process under test, before any of the product (program.ts): gives it the clock, the texts and the link that its
 * run has. The times of files are the kernel's all the same.
 */

import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CLOCK_FILE, GONE_FILE, SURROUNDINGS_FILE } from './plan.ts';
import type { Edit, Surroundings } from './plan.ts';

const entry = process.argv[1] ?? '';
const isStorage = basename(dirname(entry)) === 'storagevm';
const isService = ['dvm', 'storagevm'].includes(basename(dirname(entry)));
const program = join(dirname(entry), '..', '..');
const project = join(import.meta.dirname, '..', '..');
const file = join(program, SURROUNDINGS_FILE);
const { edits, rate, outside } = (
  existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { edits: [] }
) as Surroundings;

/** Set in the process behind a slow link. */
const BEHIND = 'QIB_BEHIND_LINK';

function exchangeTexts(): void {
  registerHooks({
    load(url, context, next) {
      const result = next(url, context);
      const own = edits.filter((edit) => url === `file://${join(project, edit.file)}`);
      if (own.length === 0) return result;
      const text = Buffer.from(result.source as Uint8Array).toString('utf8');
      return { ...result, source: own.reduce(edited, text) };
    },
  });
}

function edited(text: string, { file: name, from, to }: Edit): string {
  if (text.split(from).length !== 2) throw new Error(`${name} has not once: ${from}`);
  return text.replace(from, () => to);
}

/** Time as it is shown to people and kept in files. What measures time has another clock, which does not jump. */
function exchangeClock(): void {
  const Real = Date;
  const read = readFileSync;
  const clock = join(program, CLOCK_FILE);
  const now = () => Real.now() + (existsSync(clock) ? Number(read(clock, 'utf8')) : 0);
  globalThis.Date = new Proxy(Real, {
    construct: (target, args, made) =>
      Reflect.construct(target, args.length === 0 ? [now()] : args, made) as object,
    get: (target, key): unknown => (key === 'now' ? now : Reflect.get(target, key)),
  });
}

/** Carries what goes in and out of the real service, which is a process of its own, and ends as it does. */
async function beLink(bytesPerSecond: number): Promise<never> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    env: { ...process.env, [BEHIND]: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const carry = async (from: AsyncIterable<Buffer>, to: NodeJS.WritableStream) => {
    for await (const piece of from) {
      for (let at = 0; at < piece.length; at += 2048) {
        const part = piece.subarray(at, at + 2048);
        await delay((1000 * part.length) / bytesPerSecond);
        to.write(part);
      }
    }
    to.end();
  };
  child.stdin.on('error', () => undefined); // It ended: its status says so.
  process.stdout.on('error', () => child.kill('SIGKILL'));
  const ended = new Promise<number>((resolve) => {
    child.once('exit', (code) => resolve(code ?? 1));
  });
  const back = carry(child.stdout, process.stdout);
  carry(process.stdin, child.stdin).catch(() => child.kill('SIGKILL'));
  const code = await ended;
  await back;
  process.exit(code);
}

if (isStorage && existsSync(join(program, GONE_FILE))) process.kill(process.pid, 'SIGKILL');
if (isService && outside !== undefined) writeFileSync(outside, String(process.pid));
if (isStorage && rate !== undefined && process.env[BEHIND] === undefined) await beLink(rate);
if (edits.length > 0) exchangeTexts();
exchangeClock();
