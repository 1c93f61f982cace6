/** Asking a person on the terminal, without echo. Secrets never pass through argv, environment or stdin (R10). */

import { openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { BackupError } from '../shared/errors.ts';
import { MAX_PASSPHRASE } from '../shared/limits.ts';

/** Asks `question` on the controlling terminal and reads one line without echo. Throws `usage` without a terminal. */
export async function askSecret(question: string): Promise<string> {
  let descriptor: number;
  try {
    descriptor = openSync('/dev/tty', 'r+');
  } catch (cause) {
    throw new BackupError(
      'usage',
      'there is no terminal to ask on: give --passphrase-file FILE or --key-file FILE',
      { cause },
    );
  }
  const terminal = new ReadStream(descriptor);
  try {
    terminal.setRawMode(true);
    writeSync(descriptor, question);
    return await readLine(terminal);
  } finally {
    writeSync(descriptor, '\r\n');
    terminal.setRawMode(false);
    terminal.destroy();
  }
}

const ENTER = /[\r\n]/;
const INTERRUPT = '\x03';
const END = '\x04';
const ERASE = /[\x7f\b]/;

function readLine(terminal: ReadStream): Promise<string> {
  return new Promise((resolve, reject) => {
    let line = '';
    terminal.setEncoding('utf8');
    terminal.on('error', reject);
    terminal.on('data', (data: string) => {
      for (const character of data) {
        if (ENTER.test(character)) resolve(line);
        else if (character === INTERRUPT || (character === END && line === '')) {
          reject(new BackupError('usage', 'no passphrase was entered'));
        } else if (ERASE.test(character)) line = Array.from(line).slice(0, -1).join('');
        else if (line.length < 4 * MAX_PASSPHRASE) line += character;
      }
    });
  });
}
