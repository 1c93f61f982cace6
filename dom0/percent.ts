/** A share as an option of the command line. */

import { InvalidArgumentError } from 'commander';

/** `5%` or `5`: 0 to 100. */
export function parsePercent(text: string): number {
  const percent = Number(text.replace(/%$/, ''));
  if (text.trim() === '' || !(percent >= 0 && percent <= 100))
    throw new InvalidArgumentError('give a percentage from 0 to 100');
  return percent;
}
