/** A run of several steps, each a command of its own, between the owner's hooks. */

import { loadConfig } from './config.ts';
import type { Config } from './config.ts';
import { STATUS } from './exit-status.ts';
import type { Status } from './exit-status.ts';
import { Output } from './output.ts';
import { configOptions, report, runWork, whileStoppable } from './run.ts';
import type { GlobalOptions, Work } from './run.ts';
import { runAfter, runBefore } from './schedule/hooks.ts';
import type { RunKind } from './schedule/hooks.ts';
import { makePrivateFolder } from './state/files.ts';
import { lockFolder } from './state/lock.ts';

/**
 * Runs `steps` one after the other, whatever the others' outcome, but none after one that was interrupted or found another run. Answers the
 * exit status, which is set.
 */
export async function runSteps(
  options: GlobalOptions,
  kind: RunKind,
  steps: (config: Config) => readonly Work[],
): Promise<Status> {
  const output = new Output(options.json);
  try {
    const config = loadConfig(configOptions(options));
    const all = steps(config);
    const { hooks, stateFolder } = config;
    makePrivateFolder(stateFolder);
    // Whoever finds another run shall not even run hooks.
    await (
      await lockFolder(stateFolder)
    )();
    let status: Status = STATUS.failed;
    try {
      await whileStoppable(output, (signal) => runBefore(hooks, kind, signal));
      status = await runEach(options, output, all);
    } finally {
      const failure = await whileStoppable(output, (signal) => runAfter(hooks, kind, status, signal));
      if (failure !== undefined) {
        output.warn(failure);
        output.event('warning', { text: failure });
        if (status === STATUS.complete) status = STATUS.warnings;
      }
    }
    process.exitCode = status;
    return status;
  } catch (error) {
    return (process.exitCode = report(output, error));
  }
}

async function runEach(options: GlobalOptions, output: Output, steps: readonly Work[]): Promise<Status> {
  const statuses: Status[] = [];
  for (const step of steps) {
    const { status, interrupted } = await runWork(options, output, step);
    statuses.push(status);
    if (interrupted || status === STATUS.busy) break;
  }
  return WORST.find((status) => statuses.includes(status)) ?? STATUS.complete;
}

/** The first of these that any step ended with is that of the run. */
const WORST: readonly Status[] = [
  STATUS.failed,
  STATUS.usage,
  STATUS.busy,
  STATUS.differs,
  STATUS.warnings,
  STATUS.complete,
];
