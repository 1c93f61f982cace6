/** Reads a volume as a scan does: KIND PATH. Prints every entry with its chunks, then the notes and the digest; one JSON a line. */

import { writeFileSync } from 'node:fs';
import { ContentReader } from '../../dvm/content.ts';
import { Describer } from '../../dvm/describe.ts';
import { DigestWriter } from '../../dvm/digest.ts';
import type { ChunkContent } from '../../dvm/digest.ts';
import { TYPE } from '../../dvm/entry.ts';
import { entriesOf, mappedOwners } from '../../dvm/volume.ts';
import type { Noter } from '../../dvm/walk.ts';
import { hex } from '../../shared/bytes.ts';
import type { MountedVolume } from '../../shared/protocol/disposable.ts';

const [kind, path = ''] = process.argv.slice(2);
const volume: MountedVolume = { kind: kind === 'ext4' ? 'ext4' : 'folder', path };
const lines: string[] = [];
const notes: unknown[] = [];
const note: Noter = (code, where, detail) => notes.push({ code, path: where, detail });
const describer = new Describer(note, mappedOwners(volume));
const reader = new ContentReader(note, () => undefined, 'idle');
const digest = new DigestWriter();
for (const found of await entriesOf(volume, note)) {
  if (found.type === TYPE.skipped) continue;
  let chunks: readonly ChunkContent[] = [];
  if (found.type === TYPE.file) {
    const content = await reader.read(found, (chunk) => chunk);
    if (content.kind === 'read') chunks = content.chunks;
  }
  const entry = describer.describe(found);
  if (entry === undefined) continue;
  digest.add(entry, chunks);
  const shownChunks = chunks.map(({ gap, length, hash }) => `${gap}+${length} ${hex(hash)}`);
  const attributes = entry.attributes.map(({ name, value }) => `${name}=${hex(value)}`);
  lines.push(JSON.stringify({ ...entry, attributes, chunks: shownChunks }));
}
describer.finish();
lines.push(JSON.stringify({ notes, digest: digest.finish().digest }));
writeFileSync(1, `${lines.join('\n')}\n`);
