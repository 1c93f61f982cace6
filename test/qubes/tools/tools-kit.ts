/** The stand-ins for dom0's programs, for tests: as programs, or played in the test's own process, which is faster. */

import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { TOOLS, TOOL_NAMES, Tools } from '../../../dom0/domains/qubes/tools/tools.ts';
import type { ToolName, ToolRunner } from '../../../dom0/domains/qubes/tools/tools.ts';
import { BackupError } from '../../../shared/errors.ts';
import { PROJECT, compiledCommand } from '../../support/processes.ts';
import { play } from './stand-in.ts';
import { withWorld } from './state.ts';
import type { ToolState } from './state.ts';

/** Plays the programs on the machine in `root` (that of qubes-kit.ts) in this process. */
export function playedTools(root: string): ToolRunner {
  return {
    run: async (tool, args, { subject }) => {
      await Promise.resolve();
      const { code, stdout, stderr } = play(root, tool, args);
      if (code === 0) return stdout;
      throw new BackupError(
        'io',
        `${subject}: \`${[tool, ...args].join(' ')}\` failed with status ${code}: ${stderr.trim()}. ${TOOLS[tool].failure}`,
      );
    },
  };
}

/** The programs themselves: launchers below `root`, each a process of its own. */
export function programs(root: string): Partial<Record<ToolName, string>> {
  const folder = join(root, 'programs');
  mkdirSync(folder, { recursive: true });
  const entries = TOOL_NAMES.map((name) => {
    const path = join(folder, name);
    const script = join(PROJECT, 'test/qubes/tools/stand-in.ts');
    writeFileSync(
      path,
      `#!/bin/sh\nexec ${compiledCommand([process.execPath, '--no-warnings', script, root, name])} "$@"\n`,
    );
    chmodSync(path, 0o755);
    return [name, path] as const;
  });
  return Object.fromEntries(entries);
}

export function programTools(root: string): Tools {
  return new Tools({ paths: programs(root) });
}

/** Reads or changes what the stand-ins know. */
export function toolState<T>(root: string, work: (state: ToolState) => T): T {
  return withWorld(root, ({ state }) => work(state));
}

/** Every form of a call that the table has; what is in capitals stands for any value. */
const CALLS = TOOL_NAMES.flatMap((name) =>
  TOOLS[name].calls.map((form) => {
    const words = `${name} ${form}`.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    const values = words
      .replace(/\bqib-ID\b/g, 'qib-[0-9a-f]{8}')
      .replace(/\b(?!NAME,BACK)[A-Z]{2,}\b(?!-)/g, '[^ ]+');
    return new RegExp(`^${values}$`);
  }),
);

/**
 * When the running test ends, every call must have been one of the table (if `strict`), no call may have been one that must never be,
 * and every expected one must have come.
 */
export function verifyTools(root: string, strict = true): void {
  onTestFinished(() => {
    const { breaches, expected, calls } = toolState(root, (state) => state);
    const unknown = calls.find((call) => !CALLS.some((form) => form.test(call)));
    if (strict && unknown !== undefined) throw new Error(`no call of the table of tools: ${unknown}`);
    if (breaches.length > 0) throw new Error(`never to be asked of dom0: ${breaches.join('; ')}`);
    if (expected.length > 0)
      throw new Error(
        `these calls never came: ${expected.map(({ tool, args }) => `${tool} ${args}`).join('; ')}`,
      );
  });
}
