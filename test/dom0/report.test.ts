/** The page of `report`: what is in it, and that nothing else is. */

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { backup } from '../../dom0/commands/backup.ts';
import { forget } from '../../dom0/commands/forget.ts';
import { init } from '../../dom0/commands/init.ts';
import { report } from '../../dom0/commands/report.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { binaryTicks, chart, decimalTicks } from '../../dom0/report/chart.ts';
import { historyOfRuns } from '../../dom0/report/history.ts';
import { markup } from '../../dom0/report/markup.ts';
import { STYLE } from '../../dom0/report/style.ts';
import { allEntries, RunLog } from '../../dom0/state/run-log.ts';
import { parseVmName } from '../../shared/ids.ts';
import { rejection } from '../support/failure.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';
import { HOSTILE, madeUpPage } from '../support/report-page.ts';

const NOW = Date.UTC(2026, 10, 22, 8);

async function backedUp(times: number) {
  const home = new Home();
  createKeyFile(home.keyFile);
  home.identify('work');
  home.write('work', 'file', 'content');
  const run = (command: (app: App) => Promise<void>) =>
    runOver(new InProcessDomains(home.folder, () => Date.now()), home, command);
  await run((app) => init(app, () => app.secrets()));
  for (let i = 0; i < times; i++) await run((app) => backup(app, ['work']));
  return { home, run };
}

describe('the page', () => {
  const page = madeUpPage(40, NOW);

  it('escapes every name and message', () => {
    expect(page).not.toContain('<script');
    expect(page).not.toContain('<img');
    expect(page.match(/<style/g)).toHaveLength(1);
    expect(page.split('&lt;script&gt;alert(1)').length).toBeGreaterThan(6);
    expect(markup`<a title="${HOSTILE}">`.text).not.toMatch(/title="[^"]*[<>']/);
  });

  it('names nothing outside of itself', () => {
    expect(page.replaceAll(markup`${HOSTILE}`.text, '')).not.toMatch(
      /https?:|\/\/|url\(|@import|<link|<iframe|<object|<embed|<form|<base|\ssrc=|\shref=|\son[a-z]+="/,
    );
  });

  it('forbids a browser everything but its own style', () => {
    const policy = /<meta http-equiv="Content-Security-Policy" content="([^"]*)">/.exec(page)?.[1];
    const hash = createHash('sha256')
      .update(/<style>([\s\S]*?)<\/style>/.exec(page)?.[1] ?? '')
      .digest('base64');
    expect(policy).toBe(
      `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`,
    );
    expect(page).not.toMatch(/\sstyle="/); // No other style would be heeded.
    expect(STYLE).toContain('prefers-color-scheme: dark');
    expect(page.indexOf('Content-Security-Policy')).toBeLessThan(page.indexOf('<style>'));
  });

  it('has three charts of a VM with runs, and none of one without', () => {
    expect(page.match(/<svg /g)).toHaveLength(3);
    for (const title of ['Size of all files', 'Added to the store', 'Duration'])
      expect(page).toContain(`<figcaption>${title}</figcaption>`);
    expect(page).toContain('No runs yet.');
    expect(page.match(/class="bar"/g)).toHaveLength(64); // Of 40 runs 8 were forgotten, in two charts of bars.
    expect(page.match(/class="bar faded"/g)).toHaveLength(16);
    expect(madeUpPage(0, NOW)).not.toContain('<svg ');
    expect(madeUpPage(1, NOW).match(/NaN|Infinity|undefined/)).toBeNull();
  });

  it('of very many runs stays small', () => {
    const large = madeUpPage(20_000, NOW);
    expect(large.length).toBeLessThan(300_000);
    expect(large.match(/NaN|Infinity|undefined/)).toBeNull();
  });
});

describe('a chart', () => {
  it.each([
    [0, [0, 1]],
    [1, [0, 1]],
    [3, [0, 1, 2, 3]],
    [9, [0, 5, 10]],
    [34, [0, 10, 20, 30, 40]],
    [1000, [0, 500, 1000]],
  ])('has steps that people count in, up to %d', (highest, ticks) => {
    expect(decimalTicks(highest)).toEqual(ticks);
  });

  it('has steps of sizes, at least one and at most five, and the highest value below the last', () => {
    for (let highest = 1; highest < 2 ** 52; highest = Math.ceil(highest * 1.7)) {
      const ticks = binaryTicks(highest);
      expect(ticks.length).toBeGreaterThan(1);
      expect(ticks.length).toBeLessThanOrEqual(5);
      expect(ticks.at(-1)).toBeGreaterThanOrEqual(highest);
      expect(Math.log2(ticks[1] ?? 0) % 1).toBe(0);
    }
  });

  it('draws the highest of what falls into one column', () => {
    const points = Array.from({ length: 1_000 }, (_, at) => ({
      at,
      value: at === 500 ? 99 : 1,
      faded: false,
    }));
    const common = { title: '', from: 0, to: 1_000, format: String, ticks: decimalTicks };
    const { text } = chart({ ...common, kind: 'bars', points });
    expect(text.match(/class="bar"/g)?.length).toBeLessThanOrEqual(280);
    expect(text).toContain(': 99</title>');
  });
});

describe('the history', () => {
  it('is that of the store, and what the log has of snapshots that were forgotten, and of failures', async () => {
    const { home, run } = await backedUp(3);
    const log = new RunLog(home.state, 'backup');
    const result = (fields: object) => log.add('result', JSON.stringify(fields));
    for (const snapshot of [1, 2, 3])
      result({
        event: 'backup',
        vm: 'work',
        snapshot,
        bytes: snapshot,
        storedBytes: 10,
        seconds: 2,
        more: 'x',
      });
    result({ event: 'failed', vm: 'work', code: 'timeout', message: 'it took too long' });
    result({ event: 'failed', vm: 'other', code: 'timeout', message: 'not this one' });
    log.add('result', '{"event":"backup","vm":"work","sna');
    log.add('warning', JSON.stringify({ event: 'failed', vm: 'work', message: 'no result' }));
    log.close();
    await run((app) => forget(app, [], { rules: { last: 1 }, yes: true }));
    await run(async (app) => {
      app.defer(() => app.storage.abort());
      const all = await historyOfRuns(await app.open(), allEntries(home.state));
      const { runs, failures } = all.get(parseVmName('work')) ?? { runs: [], failures: [] };
      expect(runs.map(({ bytes, forgotten }) => [bytes, forgotten]).sort()).toEqual([
        [1, true],
        [2, true],
        [7, false],
      ]);
      expect(failures.map(({ message }) => message)).toEqual(['it took too long']);
      expect(runs.map(({ at }) => at)).toEqual(runs.map(({ at }) => at).sort());
    });
  });

  it('is written whole or not at all, for its owner alone', async () => {
    const { home, run } = await backedUp(1);
    const file = join(home.folder, 'out', 'backups.html');
    mkdirSync(join(home.folder, 'out'));
    for (let times = 0; times < 2; times++) {
      const { output } = await run((app) => report(app, file));
      expect(output.events.at(-1)).toMatchObject({
        event: 'report',
        file,
        vms: 1,
        bytes: statSync(file).size,
      });
    }
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(home.folder, 'out'))).toEqual(['backups.html']);
    expect(readFileSync(file, 'utf8')).toContain('<h2>work</h2>');
    expect((await rejection(run((app) => report(app, join(home.folder, 'nowhere', 'page.html'))))).code).toBe(
      'io',
    );
    expect((await rejection(run((app) => report(app, '')))).code).toBe('usage');
  });
});
