/**
 * A snapshot's tree and a volume as it is now, side by side. Content is read where the metadata cannot tell that it is
 * the same, or everywhere if that is wanted.
 */

import type { ByteString } from '../shared/bytes.ts';
import type { BlobSource } from './blobs.ts';
import { ContentMark, LinkLeaders, differingFields, sameLinks } from './compare-entries.ts';
import type { State } from './compare-entries.ts';
import { differing } from './comparison.ts';
import type { Differing, LeftOut, Side } from './comparison.ts';
import type { ContentReader } from './content.ts';
import type { Describer } from './describe.ts';
import { TYPE } from './entry.ts';
import type { Skipped } from './excludes.ts';
import { joinByPath } from './join.ts';
import type { Base } from './scan-base.ts';
import { readStates } from './states.ts';
import type { Found } from './walk.ts';

export interface VolumeComparisonParts {
  /** The snapshot. */
  readonly base: Base;
  readonly blobs: BlobSource;
  readonly volume: Iterable<Found | Skipped>;
  readonly reader: ContentReader;
  readonly describer: Describer;
  readonly leftOut: LeftOut;
  /** Read all content. */
  readonly content: boolean;
  /** Called for each path with the bytes of the file there, if one is. */
  readonly done: (bytes: number) => Promise<void> | undefined;
}

/** Every path in which the volume is not what the snapshot has, in path order. Throws `store-damaged`. */
export async function* compareWithVolume(parts: VolumeComparisonParts): AsyncGenerator<Differing> {
  const { base, blobs, volume, leftOut, done } = parts;
  const comparison = new VolumeComparison(parts);
  for await (const [known, found] of joinByPath(readStates(base.top.leaves, blobs), volume)) {
    const path = (known ?? found)?.path ?? ('' as ByteString);
    const turn = done(found?.type === TYPE.file ? found.stat.size : 0);
    if (turn !== undefined) await turn;
    if (leftOut.covers(path, known?.entry.type, found?.type) || found?.type === TYPE.skipped) continue;
    const difference = await comparison.compare(path, known, found);
    if (difference !== undefined) yield difference;
  }
}

class VolumeComparison {
  readonly #parts: VolumeComparisonParts;
  readonly #before = new LinkLeaders();
  readonly #after = new LinkLeaders();

  constructor(parts: VolumeComparisonParts) {
    this.#parts = parts;
  }

  async compare(
    path: ByteString,
    known: State | undefined,
    found: Found | undefined,
  ): Promise<Differing | undefined> {
    const before = known && this.#before.leaderOf(known.entry);
    if (found === undefined) return differing(path, known?.entry, undefined);
    const { inode, ctime, links } = found.stat;
    const link = { path, inode, ctime, linked: links > 1 && found.type !== TYPE.directory };
    const after = this.#after.leaderOf(link);
    // What is below cannot be read: that it is missing here says nothing.
    if (found.unreadable && found.type === TYPE.directory) this.#parts.leftOut.below(path);
    if (known?.entry.type !== found.type) return differing(path, known?.entry, sideOf(found));
    const state = await this.#read(found, known);
    if (state === undefined) return differing(path, known.entry, undefined);
    const fields = differingFields(known, state);
    if (before !== after && !sameLinks(known.entry, link) && !fields.includes('links')) fields.push('links');
    return differing(path, known.entry, state.entry, fields);
  }

  /** The state of `found`, with its content as far as that may differ; undefined, and noted, if it is gone. */
  async #read(found: Found, known: State): Promise<State | undefined> {
    const { base, content, describer } = this.#parts;
    const isUnchanged = base.isUnchanged(found, known.entry);
    if (isUnchanged && !content) return known;
    const mayDiffer = found.type === TYPE.file && found.stat.size === known.entry.size;
    if (mayDiffer) return this.#readFile(found);
    const entry = describer.describe(found);
    return entry && { path: found.path, entry, content: undefined };
  }

  async #readFile(found: Found): Promise<State | undefined> {
    const { reader, describer } = this.#parts;
    const content = await reader.read(found, (chunk) => chunk);
    if (content.kind === 'vanished') return undefined;
    if (content.kind === 'unreadable') {
      const entry = describer.describe({ ...found, unreadable: true });
      return entry && { path: found.path, entry, content: undefined };
    }
    const entry = describer.describe({ ...found, stat: content.stat, flags: content.flags });
    const mark = new ContentMark();
    for (const chunk of content.chunks) mark.add(chunk);
    return entry && { path: found.path, entry, content: mark.finish() };
  }
}

function sideOf({ type, stat }: Found): Side {
  return { type, size: type === TYPE.file ? stat.size : 0 };
}
