/** `logs`: what the last run that had something to say left in dom0's log. */

import { formatTime } from '../../shared/format.ts';
import type { App } from '../app.ts';
import { lastRun } from '../state/run-log.ts';

export function logs(app: App): void {
  const entries = lastRun(app.config.stateFolder);
  if (entries.length === 0) app.output.line('No run has logged anything yet.');
  for (const entry of entries) {
    const { at, level, text, vm, service } = entry;
    const from = service === undefined ? '' : `${vm ?? ''} ${service}: `;
    app.output.line(`${formatTime(Date.parse(at))}  ${level.padEnd(7)}  ${from}${text}`);
    app.output.event('log', entry);
  }
}
