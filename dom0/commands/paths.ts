/** Paths on the command line. */

import { bytesOf, unescapeText } from '../../shared/bytes.ts';

/** The bytes of a path that a person typed, relative to the volume's root. */
export function pathBytes(path: string): Uint8Array {
  return bytesOf(unescapeText(trimSlashes(path)));
}

/** A path relative to the volume's root, as the format has it. */
function trimSlashes(path: string): string {
  return path
    .replace(/^(?:\.?\/)+/, '')
    .replace(/\/+$/, '')
    .replace(/^\.$/, '');
}
