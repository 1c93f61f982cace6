/**
 * The job of qubes.BackupDrill: a command of dom0's owner looks at a restored volume, which it cannot write. It is run in the volume's
 * root folder; QUBES_BACKUP_VOLUME names that folder, or the device of a volume that was backed up as blocks.
 */

import { BackupError } from '../shared/errors.ts';
import { DRILL_COMMAND_TIMEOUT } from '../shared/limits.ts';
import type { drill, MountedVolume } from '../shared/protocol/disposable.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import { readingDisk } from './disk.ts';
import { runProgram } from './program.ts';
import type { ProgramResult } from './program.ts';
import { Report } from './restore-report.ts';

/** Serves one session: takes the job, runs its command, sends how that ended. */
export async function drillVolume(session: ServiceSession<typeof drill>): Promise<void> {
  const { value: job } = expect(await session.receive(), 'job');
  const report = new Report(session);
  const result = await readingDisk(
    job.volume,
    (code, path, detail) => report.note(code, path, detail),
    (volume) => runOn(volume, job.command),
  );
  await report.finish();
  await session.send('done', result);
}

function runOn({ kind, path }: MountedVolume, [program, ...args]: readonly string[]): Promise<ProgramResult> {
  if (program === undefined) throw new BackupError('internal', 'a drill without a command');
  return runProgram(program, args, {
    timeout: DRILL_COMMAND_TIMEOUT,
    missing: 'correct drill_command, or install it in the template of this disposable',
    cwd: kind === 'folder' ? path : '/',
    environment: { QUBES_BACKUP_VOLUME: path },
    group: true,
  });
}
