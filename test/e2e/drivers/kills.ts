/**
 * R50: dom0 killed at its steps, on the machine of a driver. In CI a few steps, chosen by a seed; `npm run kill` tries each, and with
 * QIB_PIECE=3/20 the third one, the 23rd, and so on.
 */

import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { expect } from 'vitest';
import { COMPILED, PROJECT, run, waitFor } from '../../support/processes.ts';
import { Random } from '../../support/random.ts';
import type { System } from './system.ts';

/** Steps tried of each command, chosen by QIB_SEED; `npm run kill` tries all. */
const SAMPLE = Number(process.env['QIB_KILLS'] ?? 1);
const SEED = Number(process.env['QIB_SEED'] ?? randomInt(1_000_000));

/** Each so many-th step alone, from a first one on: all of them in pieces, on several machines say. */
const [FIRST_STEP = 1, EVERY = 1] = (process.env['QIB_PIECE'] ?? '1/1').split('/').map(Number);

/** Numbers from 1 to `steps`, in that order. */
function chosen(steps: number): readonly number[] {
  const random = new Random(SEED);
  const all = Array.from({ length: steps }, (_, i) => i + 1);
  const left = all.filter((step) => step % EVERY === FIRST_STEP % EVERY);
  while (left.length > SAMPLE) left.splice(random.below(left.length), 1);
  return left;
}

/** dom0 as a process of its own, which kills itself at a step. */
function runUntil(system: System, command: string, step: number) {
  const program = join(PROJECT, 'test/e2e/drivers/dying-run.ts');
  const words = ['--no-warnings', program, JSON.stringify(system.machine), command, String(step)];
  return run(process.execPath, words, { env: { ...process.env, ...COMPILED } });
}

/** Runs the command to its end, and kills it at steps; after each, what the next run does about it, and then what `expectWhole` says. */
export async function killed(
  system: System,
  command: 'backup' | 'restore' | 'replace' | 'restore-all' | 'drill',
  expectWhole: () => Promise<void>,
): Promise<void> {
  const whole = await runUntil(system, command, 1e9);
  expect(whole.code, whole.stderr).toBe(0);
  await expectWhole();
  const steps = Number(whole.stdout.toString());
  expect(steps).toBeGreaterThan(5);
  for (const step of chosen(steps)) {
    const when = `QIB_SEED=${SEED}: killed at step ${step} of ${steps} of a ${command}`;
    const { signal, stderr } = await runUntil(system, command, step);
    expect(signal, `${when}: ${stderr}`).toBe('SIGKILL');
    await system.run((app) => app.lock());
    await expectNothingLeft(system, when);
    await expectWhole();
  }
}

/** What died holds its devices for a moment. */
export async function expectNothingLeft(system: System, when = 'all is done'): Promise<void> {
  await waitFor(() => system.leftovers().length === 0, `nothing is left when ${when}`, 5_000).catch(
    () => undefined,
  );
  expect(system.leftovers(), when).toEqual([]);
}
