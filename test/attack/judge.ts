/** What was seen of a case, and whether it is what the list says. */

import type { Outcome, Trace } from './case.ts';
import { changes } from './home-state.ts';
import type { HomeState } from './home-state.ts';
import type { Report } from './job.ts';
import type { Result } from './victim.ts';

export interface Seen {
  readonly outcome: Outcome | 'untyped' | 'crashed' | 'hung';
  /** What was said of it, for people. */
  readonly message: string;
  readonly left: readonly Trace[];
  /** Peak resident memory of dom0 in KiB, and time in milliseconds. */
  readonly peak: number;
  /** KiB by which dom0 grew. */
  readonly grown: number;
  readonly milliseconds: number;
  readonly report: Report | undefined;
}

const PRINTABLE = /^[\x20-\x7e]*$/;
/** Failures of a peer: their messages begin with its VM and service. */
const NAMES_ITS_PEER: readonly string[] = [
  'protocol',
  'timeout',
  'service-died',
  'service-failed',
  'refused',
];

export function seenOf(result: Result, honest: Report, left: readonly Trace[]): Seen {
  const nothing = { left, peak: 0, grown: 0, milliseconds: 0, report: undefined };
  if (result.kind === 'hung') return { ...nothing, outcome: 'hung', message: '' };
  if (result.kind === 'crashed') return { ...nothing, outcome: 'crashed', message: result.text };
  const { report, peak, grown } = result;
  const { failure, milliseconds } = report;
  const outcome = failure === undefined ? outcomeOf(report, honest) : (failure.code as Outcome);
  return { outcome, message: failure?.message ?? '', left, peak, grown, milliseconds, report };
}

function outcomeOf(report: Report, honest: Report): Outcome {
  if (plain(report) === plain(honest)) return 'honest';
  const quiet = {
    ...report,
    lines: report.lines.filter((line) => !/^(?:warning: |With warnings: )/.test(line)),
  };
  quiet.events = report.events.filter((event) => !event.startsWith('{"event":"warning"'));
  return report.warnings > 0 && plain(quiet) === plain(honest) ? 'warned' : 'claimed';
}

/** All that was shown, without what differs from run to run. */
function plain({ lines, events }: Report): string {
  return JSON.stringify({ lines, events })
    .replace(/\/[\w./-]{1,200}\/lane-\d+\//g, '')
    .replace(/, \d+\.\d s/g, '')
    .replace(/ +\d+ s(?: +\d+ warnings?)?(?=")/g, '') // The end of a row of the summary.
    .replace(/\\"seconds\\":[\d.]+/g, '')
    .replace(/temporary VM [A-Za-z0-9_-]+/g, 'temporary VM');
}

/** What is wrong with `seen`, whatever was attacked: undefined if nothing is. */
export function alwaysWrong(seen: Seen): string | undefined {
  if (['untyped', 'crashed', 'hung', 'internal'].includes(seen.outcome)) return seen.message;
  const { report } = seen;
  const shown = [seen.message, ...(report?.lines ?? [])];
  const odd = shown.find((line) => !PRINTABLE.test(line.replaceAll('…', '').replaceAll('’', '')));
  if (odd !== undefined) return `it shows ${JSON.stringify(odd.slice(0, 200))}`;
  if (
    NAMES_ITS_PEER.includes(seen.outcome) &&
    !/^[A-Za-z][A-Za-z0-9_-]*: qubes\.(Backup[A-Za-z]+|Filecopy) /.test(seen.message)
  )
    return `the message does not name its peer: ${seen.message}`;
  return undefined;
}

/** What kinds of things changed in a home. */
export function traceOf(before: HomeState, after: HomeState): Trace[] {
  const empty = ['state/pins', 'state/pins/stores'];
  const found = changes(before, after).filter(({ path }) => !empty.includes(path));
  return [...new Set(found.map(({ path, how }) => kindOf(path, how)))].sort();
}

function kindOf(path: string, how: 'new' | 'gone' | 'changed'): Trace {
  const store = 'storage/main/qubes-backup/';
  // A service that was killed leaves files in tmp/, and nothing else.
  if (/^(objects|tmp)\//.test(path.slice(store.length)) && path.startsWith(store) && how === 'new')
    return 'objects';
  if (path.startsWith(`${store}ledger/puts`)) return 'objects';
  if (path.startsWith(`${store}roots/`) && how === 'new') return 'root';
  if (
    path.startsWith(`${store}ledger/`) ||
    /^state\/pins\/(pin\.json|primary\.json|stores\/main\.json)$/.test(path)
  )
    return 'root';
  if (path === 'state/pins/pending-root' && how === 'new') return 'pending';
  if (/^vms\/copy(\/|$)/.test(path) && how === 'new') return 'vm';
  if (path.startsWith('vms/vault/private/home') && how === 'new') return 'incoming';
  if (path.startsWith('storage/main/discarded') && how === 'new') return 'objects';
  return path === 'out.tar' && how === 'new' ? 'output' : 'other';
}
