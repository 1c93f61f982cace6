/**
 * The report as one page, which needs nothing else: no script, no font, no picture, no address of any kind. Its own policy (CSP)
 * forbids a browser to load or run anything but the style that is in it, named by its hash.
 */

import { createHash } from 'node:crypto';
import { formatBytes, formatCount, formatDuration, formatTime } from '../../shared/format.ts';
import { formatAge } from '../commands/status.ts';
import type { Overview, StoreState } from '../commands/status.ts';
import { problemsOf } from '../commands/survey.ts';
import type { VmState } from '../commands/survey.ts';
import { binaryTicks, chart, decimalTicks } from './chart.ts';
import type { Chart } from './chart.ts';
import type { Run, VmRuns } from './history.ts';
import { join, markup } from './markup.ts';
import type { Markup } from './markup.ts';
import { STYLE } from './style.ts';

/** Failed runs that are listed of a VM: the newest. */
const MAX_FAILURES = 5;

const DAY = 86_400_000;

const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

/** The whole page. `runs`: by the name of the VM. */
export function reportPage(overview: Overview, runs: ReadonlyMap<string, VmRuns>): string {
  const { now, counter, fingerprint, vms, stores, problems } = overview;
  const next = overview.next === undefined ? 'nothing is scheduled' : `next run ${formatTime(overview.next)}`;
  const body = markup`<header><h1>Backups</h1>
<p class="muted">As of ${formatTime(now)}; ${next}.</p>
<p class="muted">Root ${formatCount(counter)}: <span class="words">${fingerprint}</span></p></header>
${summary(problems)}
<section><h2>VMs</h2>${vmTable(vms, now)}</section>
<section><h2>Stores</h2>${storeTable(stores)}</section>
${join(vms.map((vm) => vmSection(vm, runs.get(vm.name), now)))}
<footer>Paler values are of snapshots that were forgotten since, as far as the log of this machine has them. Point at a value to read it.</footer>`;
  // A policy has quotes in it, which mean nothing within the double ones of the attribute.
  return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Backups</title><style>${STYLE}</style></head>
<body>${body.text}</body></html>
`;
}

function summary(problems: readonly string[]): Markup {
  if (problems.length === 0) return markup`<div class="summary good"><strong>All is well.</strong></div>`;
  const items = problems.map((problem) => markup`<li>${problem}</li>`);
  const what =
    problems.length === 1 ? 'One thing needs you' : `${formatCount(problems.length)} things need you`;
  return markup`<div class="summary bad"><strong>${what}</strong><ul>${join(items)}</ul></div>`;
}

function vmTable(vms: readonly VmState[], now: number): Markup {
  const rows = vms.map(({ name, newest, snapshots, diary: { check, drill }, orphaned, included }) => {
    const remark = orphaned ? 'its VM is not here' : included ? '' : 'not included in backups';
    return markup`<tr><td>${name}</td><td>${newest === undefined ? 'never' : formatTime(newest.takenAt)}</td><td class="number">${newest === undefined ? '' : formatAge(now - newest.takenAt)}</td><td class="number">${newest === undefined ? '' : formatBytes(newest.bytes)}</td><td class="number">${formatCount(snapshots)}</td><td>${check === undefined ? 'never' : formatTime(check.at)}</td><td>${drill === undefined ? 'never' : `${formatTime(drill.at)}, ${drill.result}`}</td><td class="remark">${remark}</td></tr>`;
  });
  return markup`<div class="scroll"><table><thead><tr><th>VM</th><th>Last backup</th><th class="number">Age</th><th class="number">Size</th><th class="number">Snapshots</th><th>Last check</th><th>Last drill</th><th></th></tr></thead><tbody>${join(rows)}</tbody></table></div>`;
}

function storeTable(stores: readonly StoreState[]): Markup {
  const rows = stores.map(
    ({ name, state, bytes, objects, inStep }) =>
      markup`<tr><td>${name}</td><td${inStep ? markup`` : markup` class="bad-text"`}>${state}</td><td class="number">${bytes === null ? '' : formatBytes(bytes)}</td><td class="number">${objects === null ? '' : formatCount(objects)}</td></tr>`,
  );
  return markup`<div class="scroll"><table><thead><tr><th>Store</th><th>State</th><th class="number">Size</th><th class="number">Objects</th></tr></thead><tbody>${join(rows)}</tbody></table></div>`;
}

function vmSection(vm: VmState, known: VmRuns | undefined, now: number): Markup {
  const { runs, failures } = known ?? { runs: [], failures: [] };
  const problems = problemsOf(vm).map((problem) => markup`<p class="bad-text">${problem}</p>`);
  const failed = failures
    .slice(-MAX_FAILURES)
    .reverse()
    .map(({ at, message }) => markup`<p class="remark">${formatTime(at)}: failed: ${message}</p>`);
  return markup`<section><h2>${vm.name}</h2>${facts(runs, failures.length)}${join(problems)}${join(failed)}${charts(runs, now)}</section>`;
}

function facts(runs: readonly Run[], failures: number): Markup {
  const added = runs.reduce((sum, run) => sum + run.added, 0);
  const texts = [
    `${formatCount(runs.length)} ${runs.length === 1 ? 'run' : 'runs'}`,
    `${formatBytes(added)} added in all`,
    ...(failures === 0 ? [] : [`${formatCount(failures)} failed, as far as they are logged`]),
  ];
  return markup`<div class="facts">${join(texts.map((text) => markup`<span>${text}</span>`))}</div>`;
}

function charts(runs: readonly Run[], now: number): Markup {
  const [first, last] = [runs[0], runs.at(-1)];
  if (first === undefined || last === undefined) return markup`<p class="remark">No runs yet.</p>`;
  // One run alone would have no width.
  const from = Math.min(first.at, last.at - DAY);
  const common = { from, to: Math.max(last.at, Math.min(now, last.at + DAY)) };
  const of = (pick: (run: Run) => number) =>
    runs.map((run) => ({ at: run.at, value: pick(run), faded: run.forgotten }));
  const bytes = { format: formatBytes, ticks: binaryTicks };
  const all: [string, Chart][] = [
    [
      'size',
      { ...common, ...bytes, title: 'Size of all files', kind: 'line', points: of((run) => run.bytes) },
    ],
    [
      'added',
      { ...common, ...bytes, title: 'Added to the store', kind: 'bars', points: of((run) => run.added) },
    ],
    [
      'time',
      {
        ...{ ...common, title: 'Duration', kind: 'bars', points: of((run) => run.seconds) },
        ...{ format: formatDuration, ticks: decimalTicks },
      },
    ],
  ];
  return markup`<div class="charts">${join(all.map(([kind, each]) => markup`<div class="${kind}">${chart(each)}</div>`))}</div>`;
}
