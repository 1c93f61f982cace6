/**
 * What a person says of snapshots: `tag`, `untag`, `note`, and `acknowledge` of the warnings that freeze `forget`. All of it is in
 * the store, for every machine that uses it.
 */

import { BackupError } from '../../shared/errors.ts';
import { parseVmName } from '../../shared/ids.ts';
import { MAX_REMARK, MAX_TAG, MAX_TAGS } from '../../shared/limits.ts';
import { requireUsage } from '../app.ts';
import type { App } from '../app.ts';
import { findSnapshot } from '../repository/find-snapshot.ts';
import { historyNamed } from '../repository/find-vm.ts';
import { remark, tag } from '../repository/records.ts';
import type { SnapshotEntry } from '../repository/records.ts';
import { replaceEntries } from '../repository/snapshot-segments.ts';
import { alarming } from '../retention/anomaly.ts';
import { catchUp } from './sync-stores.ts';

type Edit = (entry: SnapshotEntry) => SnapshotEntry;

/** Sorted, each once. Throws `usage`. */
export function parseTags(texts: readonly string[]): string[] {
  const tags = [...new Set(texts)].sort();
  const wrong = tags.find((text) => !tag.safeParse(text).success);
  requireUsage(
    wrong === undefined,
    `a tag is 1 to ${MAX_TAG} letters, digits, ".", "_" and "-", and begins with a letter or digit`,
  );
  requireUsage(tags.length <= MAX_TAGS, `a snapshot has at most ${MAX_TAGS} tags`);
  return tags;
}

/** Marks a snapshot, beside the tags that it has. */
export async function tagSnapshot(
  app: App,
  vm: string,
  snapshot: string,
  texts: readonly string[],
): Promise<void> {
  const added = parseTags(texts);
  await editSnapshot(app, vm, snapshot, (entry) => ({
    ...entry,
    tags: parseTags([...entry.tags, ...added]),
  }));
}

/** Takes tags off a snapshot. */
export async function untagSnapshot(
  app: App,
  vm: string,
  snapshot: string,
  texts: readonly string[],
): Promise<void> {
  const removed = new Set(parseTags(texts));
  await editSnapshot(app, vm, snapshot, (entry) => {
    const missing = [...removed].find((text) => !entry.tags.includes(text));
    requireUsage(missing === undefined, `snapshot ${entry.number} of ${vm} has no tag ${missing ?? ''}`);
    return { ...entry, tags: entry.tags.filter((text) => !removed.has(text)) };
  });
}

/** Gives a snapshot a note instead of the one that it has; an empty one takes it off. */
export async function noteSnapshot(app: App, vm: string, snapshot: string, text: string): Promise<void> {
  const parsed = remark.safeParse(text);
  requireUsage(parsed.success, `a note is at most ${MAX_REMARK} characters of printable ASCII`);
  await editSnapshot(app, vm, snapshot, (entry) => ({ ...entry, note: text }));
}

/** Lets `forget` touch the VM again after warnings of much that was deleted or rewritten. */
export async function acknowledge(app: App, vm: string): Promise<void> {
  await editEntries(app, vm, (entries) => {
    const alarms = new Set(alarming(entries));
    const numbers = [...alarms].map(({ number }) => number);
    if (numbers.length === 0) app.output.line(`${vm}: there is no warning to acknowledge.`);
    else
      app.output.line(`${vm}: acknowledged for snapshot ${numbers.join(', ')}: "forget" works on it again.`);
    app.output.event('acknowledged', { vm, snapshots: numbers });
    return entries.map((entry) =>
      alarms.has(entry) && entry.anomaly !== null
        ? { ...entry, anomaly: { ...entry.anomaly, acknowledged: true } }
        : entry,
    );
  });
}

async function editSnapshot(app: App, vm: string, snapshot: string, edit: Edit): Promise<void> {
  await editEntries(app, vm, (entries) => {
    const found = findSnapshot(vm, entries, snapshot);
    if (found.partial)
      throw new BackupError(
        'unknown-snapshot',
        `snapshot ${found.number} of ${vm} is partial: the next backup takes its place; choose another`,
      );
    const edited = edit(found);
    const { number, tags, note } = edited;
    const said = [tags.length === 0 ? 'no tags' : `tags ${tags.join(', ')}`, ...(note === '' ? [] : [note])];
    app.output.line(`${vm}: snapshot ${number}: ${said.join('; ')}`);
    app.output.event('marked', { vm, snapshot: number, tags, note });
    return entries.map((entry) => (entry === found ? edited : entry));
  });
}

/** Publishes a VM's snapshots as `edit` answers them. */
async function editEntries(
  app: App,
  vm: string,
  edit: (entries: readonly SnapshotEntry[]) => readonly SnapshotEntry[],
): Promise<void> {
  const name = parseVmName(vm);
  await app.lockToPublish();
  app.defer(() => app.storage.abort());
  const repository = await app.open();
  const history = await historyNamed(repository, app.domains, name);
  const before = await history.entries();
  const after = edit(before);
  if (after.some((entry, at) => entry !== before[at])) {
    await replaceEntries(repository, history, before, after, Date.now);
    await catchUp(app, repository);
  }
  await app.closeStorage();
}
