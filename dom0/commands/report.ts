/** `report`: the history of all VMs as a page for a browser, which opens without a network. */

import { resolve } from 'node:path';
import { utf8 } from '../../shared/bytes.ts';
import { formatBytes } from '../../shared/format.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { historyOfRuns } from '../report/history.ts';
import { reportPage } from '../report/page.ts';
import { replaceFile } from '../state/files.ts';
import { allEntries } from '../state/run-log.ts';
import { look } from './status.ts';

/** Writes it to `file`, in place of what was there. */
export async function report(app: App, file: string): Promise<void> {
  requireUsage(file !== '', 'give a file: --html FILE');
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const overview = await look(app, repository, Date.now());
  const runs = await historyOfRuns(repository, allEntries(app.config.stateFolder));
  await app.closeStorage();
  const page = utf8(reportPage(overview, runs));
  replaceFile(resolve(file), page);
  app.output.line(`Wrote ${file}: ${formatBytes(page.length)}, for any browser.`);
  app.output.event('report', { file: resolve(file), bytes: page.length, vms: overview.vms.length });
}
