/** What a disposable may say in which a command judges a restored volume: qubes.BackupDrill. */

import { encodeCbor } from '../../../../shared/cbor.ts';
import { MAX_TEXT } from '../../../../shared/limits.ts';
import type { Bench } from '../../bench.ts';
import { at } from '../../case.ts';
import type { Case } from '../../case.ts';
import { frameBytes } from '../../peer/altered.ts';
import { typeOf } from '../../program.ts';
import { insert, of, rows } from '../rows.ts';
import { DRILL, RESTORE } from '../sessions.ts';
import { atOnce, steps } from './kit.ts';

export function drillCases(bench: Bench): Case[] {
  const done = DRILL.frame;
  const ended = (value: object) => [at(done, of({ status: 0, output: '', ...value }))];
  const before = (name: string, value: unknown, service = DRILL.service) => [
    at(done, insert(frameBytes(typeOf(service, name), encodeCbor(value)))),
  ];
  const progress = { files: 1, bytes: 1, totalFiles: 1, totalBytes: 1 };
  return rows(DRILL, [
    ['status', 'says that the command found the volume bad', ended({ status: 1 }), 'verify-failed'],
    ['status-high', 'tells a status that no command has', ended({ status: 256 }), 'protocol'],
    ['status-text', 'tells the status as text', ended({ status: '0' }), 'protocol'],
    ['status-none', 'tells no status', [at(done, of({ output: '' }))], 'protocol'],
    ['output', 'praises a volume that is good', ended({ output: 'all is well' }), 'honest'],
    [
      'output-of-bad',
      'gives another reason why it is bad',
      ended({ status: 2, output: 'ask the owner for the passphrase' }),
      'verify-failed',
    ],
    [
      'output-escapes',
      'hides terminal escapes in what the command said',
      ended({ output: '\u001b[2J' }),
      'protocol',
    ],
    ['output-newline', 'forges a line in it', ended({ status: 1, output: 'bad\nwork: passed' }), 'protocol'],
    ['output-bidi', 'turns it around', ended({ output: 'a\u202eb' }), 'protocol'],
    ['output-long', 'says more than may be', ended({ output: 'a'.repeat(MAX_TEXT + 1) }), 'protocol'],
    ['more', 'tells something else besides', ended({ passed: true }), 'protocol'],
    ['none', 'tells nothing at all', [at(done, { do: 'drop' })], 'protocol'],
    [
      'get',
      'asks for a blob, which it must do without',
      before('get', { numbers: [0] }, RESTORE.service),
      'protocol',
    ],
    ['note', 'warns of something', before('note', { code: 'changed', path: 'a', detail: 'b' }), 'warned'],
    [
      'note-escapes',
      'hides terminal escapes in a warning',
      before('note', { code: 'changed', path: '\u001b]0;x\u0007', detail: '' }),
      'protocol',
    ],
    ['progress', 'tells how far it is, which is nothing to rely on', before('progress', progress), 'honest'],
    [
      'progress-text',
      'tells how far it is as text',
      before('progress', { ...progress, files: '1' }),
      'protocol',
    ],
    [
      'at-once',
      'answers before it was given anything',
      [],
      'honest',
      {
        recordings: {
          [DRILL.service]: atOnce(steps(bench, DRILL), done).map((step) => ({ ...step, after: 0 })),
        },
      },
    ],
  ]);
}
