/** A program that prints a listing of 300,000 rows, and meanwhile a dot on stderr whenever its event loop turns. */

import { writeSync } from 'node:fs';
import { Output } from '../../dom0/output.ts';

const rows = Array.from({ length: 300_000 }, (_, i) => ({ line: `row ${i}`, event: 'row', fields: { i } }));
const timer = setInterval(() => writeSync(2, '.'), 10);
const output = new Output(process.argv.includes('--json'));
for (let at = 0; at < rows.length; at += 1000) await output.rows(rows.slice(at, at + 1000));
clearInterval(timer);
