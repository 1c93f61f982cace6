/** R55, R56: a disposable says how far it is, and lets its signs of life go, whatever the clock says. */

import { test, vi } from 'vitest';
import { Report } from '../../dvm/restore-report.ts';
import { waitFor } from '../support/processes.ts';

test('a clock that is set back keeps nothing from being sent', async () => {
  const sent: string[] = [];
  const send = (name: string) => {
    sent.push(name);
    return Promise.resolve();
  };
  const report = new Report({ send });
  vi.useFakeTimers({ now: Date.now() - 365 * 86_400_000, toFake: ['Date'] });
  try {
    await waitFor(async () => {
      await report.tick();
      return sent.includes('progress');
    }, 'progress');
  } finally {
    vi.useRealTimers();
  }
});
