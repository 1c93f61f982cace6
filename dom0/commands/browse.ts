/** `browse`: a VM's snapshots on the terminal, from the tree of one to a file on this machine or in a VM. */

import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import { formatTime } from '../../shared/format.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { Browser } from '../browser/browser.ts';
import type { SnapshotRow } from '../browser/browser.ts';
import { showBrowser } from '../browser/screen.ts';
import { SnapshotSource } from '../browser/snapshot-source.ts';
import type { VolumeName } from '../domains/domains.ts';
import { hasTerminal } from '../prompt.ts';
import { findSnapshot, splitTarget } from '../repository/find-snapshot.ts';
import { historyNamed } from '../repository/find-vm.ts';
import type { SnapshotEntry } from '../repository/records.ts';

export interface BrowseOptions {
  /** What an extraction goes to, unless another is typed. */
  readonly to?: string;
  readonly intoVm?: string;
  readonly overwrite: boolean;
  readonly volume?: VolumeName;
}

export async function browseSnapshots(app: App, target: string, options: BrowseOptions): Promise<void> {
  const { to, overwrite, volume } = options;
  requireUsage(!app.output.json, 'browse is for people: ls, find and history tell programs the same');
  requireUsage(hasTerminal(), 'browse needs a terminal: ls, find, history and extract do the same without');
  requireUsage(to === undefined || options.intoVm === undefined, 'give one of --to FOLDER and --into-vm VM');
  // On Qubes OS dom0 unpacks nothing.
  const intoVm = options.intoVm !== undefined || (to === undefined && app.config.driver.kind === 'qubes');
  requireUsage(
    !intoVm || !overwrite,
    '--overwrite is for folders: a VM that receives files never overwrites any',
  );
  const { vm, snapshot: wanted } = splitTarget(target);
  const name = parseVmName(vm);
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const history = await historyNamed(repository, app.domains, name);
  const entries = await history.entries();
  const first = findSnapshot(name, entries, wanted).number;
  const snapshots = entries.map(snapshotRow).reverse();
  const source = new SnapshotSource(app, repository, history, { volume, intoVm, overwrite });
  const kind = intoVm ? 'the VM' : 'the folder';
  const destination = { kind, chosen: (intoVm ? options.intoVm : to) ?? '' };
  const browser = new Browser({ vm: name, snapshots, source, destination });
  const takeBack = app.output.giveUpTerminal((text) => browser.say(text));
  try {
    browser.show(snapshots.find(({ number }) => number === first) ?? missing());
    await showBrowser(browser, app.interruption);
    if (browser.working !== undefined) await app.domains.stopAll(); // Who leaves waits for nothing.
    await browser.working;
  } finally {
    takeBack();
    await source.close();
  }
  if (app.interrupted) throw new BackupError('service-died', 'the run was told to end');
  await app.closeStorage();
}

function snapshotRow({ number, takenAt, partial, tags }: SnapshotEntry): SnapshotRow {
  const marks = [...(partial ? ['partial'] : []), ...tags].join(' ');
  return { number, text: `${formatTime(takenAt).slice(0, 16)}  ${marks}`.trimEnd() };
}

function missing(): never {
  throw new BackupError('internal', 'a snapshot is not among its own');
}
