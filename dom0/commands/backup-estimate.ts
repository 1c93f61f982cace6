/** `backup --dry-run`: what a backup of each VM would read, as far as that can be known without reading it. */

import * as z from 'zod';
import { formatBytes, formatCount, formatTable, formatTime } from '../../shared/format.ts';
import type { App } from '../app.ts';
import { parseJson } from '../domains/json.ts';
import type { Vm } from '../domains/domains.ts';
import { historyOf } from '../repository/find-vm.ts';
import { totalsOf } from '../repository/records.ts';
import type { Snapshot } from '../repository/records.ts';
import type { Repository } from '../repository/repository.ts';
import { chosenVms, planOf } from './backup.ts';

/** Sizes in what readConfig() answers, of both drivers; 0 of a folder, which has none. */
const sizes = z.object({ volumes: z.record(z.string(), z.object({ size: z.int().min(0) })) });

/** Takes no snapshot, neither of volumes nor in the store. */
export async function estimate(app: App, names: readonly string[], all: boolean): Promise<void> {
  const vms = await chosenVms(app, names, all);
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const rows = [['VM', 'VOLUME', 'SIZE', 'LAST BACKUP', 'WOULD READ']];
  for (const vm of vms) rows.push(...(await estimateVm(app, repository, vm)));
  await app.closeStorage();
  for (const line of formatTable(rows, [2])) app.output.line(line);
  app.output.line('');
  app.output.line(
    'What changed since is only known once it is looked at: of files, each is looked at, and what changed is read.',
  );
}

async function estimateVm(app: App, repository: Repository, vm: Vm): Promise<string[][]> {
  const config = parseJson(Buffer.from(await app.domains.readConfig(vm.name)).toString('utf8'));
  const known = sizes.safeParse(config).data?.volumes ?? {};
  const history = await historyOf(repository, vm);
  const newest = (await history.entries()).filter(({ partial }) => !partial).at(-1);
  const base = newest === undefined ? undefined : await history.snapshot(newest);
  return planOf(app, vm).map(({ name, mode }) => {
    const size = known[name]?.size ?? 0;
    const before = base?.volumes.find((volume) => volume.name === name && volume.mode === mode);
    const recheck = app.config.backup(vm).recheckBytes;
    app.output.event('estimate', {
      ...{ vm: vm.name, volume: name, mode },
      size: size === 0 ? null : size,
      snapshot: before === undefined ? null : (base?.number ?? null),
      files: before?.counts.files ?? null,
      bytes: before?.counts.bytes ?? null,
      recheckBytes: before === undefined || mode === 'blocks' ? 0 : recheck,
    });
    const volumeSize = size === 0 ? '' : formatBytes(size);
    return [vm.name, name, volumeSize, lastText(base), readText(mode, volumeSize, before, recheck)];
  });
}

function lastText(base: Snapshot | undefined): string {
  if (base === undefined) return 'never';
  return `${formatTime(base.takenAt)}, read ${formatBytes(totalsOf(base).counts.readBytes)}`;
}

function readText(
  mode: 'files' | 'blocks',
  size: string,
  before: Snapshot['volumes'][number] | undefined,
  recheck: number,
): string {
  if (mode === 'blocks')
    return `all of it${size === '' ? '' : `, ${size}`}: a device is read whole each time`;
  if (before === undefined) return `all that is in it${size === '' ? '' : `, at most ${size}`}`;
  const { files, bytes } = before.counts;
  return `what changed of ${formatCount(files)} files (${formatBytes(bytes)}), and up to ${formatBytes(Math.min(recheck, bytes))} again`;
}
