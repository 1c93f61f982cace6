/**
 * Where chunks are stored, also while their pack has no number yet: a chunk knows its segment, a segment its pack as soon
 * as that is complete.
 */

import { BackupError } from '../shared/errors.ts';
import type { Place } from './entry.ts';

/** A complete pack: its blob number and its decompressed size in bytes. */
export interface Pack {
  readonly number: number;
  readonly size: number;
}

/** A part of a pack. */
export class Segment {
  /** Undefined until the pack is complete. */
  pack: Pack | undefined;
  /** Where it starts in the decompressed pack. */
  start = 0;

  constructor(pack?: Pack) {
    this.pack = pack;
  }
}

/** A chunk's place in a segment. Its blob number may be asked for once the segment has its pack. */
export class SegmentPlace implements Place {
  readonly segment: Segment;
  readonly #offset: number;

  constructor(segment: Segment, offset: number) {
    this.segment = segment;
    this.#offset = offset;
  }

  /** Bytes from the start of the segment. */
  get offsetInSegment(): number {
    return this.#offset;
  }

  get blob(): number {
    return this.#pack.number;
  }

  get offset(): number {
    return this.segment.start + this.#offset;
  }

  get packSize(): number {
    return this.#pack.size;
  }

  get #pack(): Pack {
    if (this.segment.pack === undefined)
      throw new BackupError('internal', 'a chunk’s pack is not complete yet');
    return this.segment.pack;
  }
}
