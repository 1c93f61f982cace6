/** Events of stores, keys and roots. */

import * as z from 'zod';
import { event, fingerprint, flag, number, root, store, text, texts, time } from './kit.ts';

const standing = text(
  'How it stands: `in-step`, `behind`, `empty`, `absent`, `failed`, `damaged`, `emptied`, `rolled-back`, `forked`, `replaced` or `unknown`.',
);
const slotKind = z.enum(['passphrase', 'keyFile', 'paper']).describe('What kind of secret it is.');
const label = text('What its owner calls it.');

export const STORE_EVENTS = {
  initialised: event('`init`: a repository was made.', {
    storage: text('The primary store.'),
    stores: texts('All stores that have it.'),
    repository: text('Its id.'),
    fingerprint,
  }),
  root: event('`root fingerprint`: the newest root.', {
    counter: root,
    time: time('When it was made.'),
    repository: text('The id of the repository.'),
    fingerprint,
  }),
  store: event('`storage list`: a store.', {
    store,
    state: standing,
    behind: number('How many roots it missed, if it is behind.'),
    root: root.nullable().describe('The number of the root that it has; null if none.'),
    objects: number('Objects that it holds; null if not known.').nullable(),
    bytes: number('Their bytes.').nullable(),
    seen: time('When it was last in step.').nullable(),
    primary: flag('It is the primary store.'),
    removable: flag('It may be absent.'),
    waits: flag('It waits for the word of its owner before it drops what was forgotten.'),
  }),
  synced: event('A store was brought up to date.', {
    store,
    root,
    objects: number('Objects that were copied.'),
    bytes: number('Their bytes.'),
    total: number('Objects that were to be copied.'),
    lost: number('Objects that no store has.'),
  }),
  primary: event('`storage primary`: which store is it now.', { store, root }),
  checked: event('`check`: a store was checked.', {
    store,
    root,
    objects: number('Objects that it should have.'),
    read: number('Of these: read and verified.'),
    readBytes: number('Their bytes.'),
    faults: number('Faults that were found.'),
    repaired: number('Of these: repaired.'),
    present: number('Objects that it lists.'),
  }),
  unchecked: event('`check`: a store was not checked.', { store, state: standing }),
  fault: event('`check`: a fault in a store.', { store, text: text('For a person.') }),
  repair: event('`check --repair`: what came of a fault.', {
    store,
    object: text('The name of the object.'),
    text: text('For a person.'),
  }),
  stale: event('`check`: a VM without a backup, or without a recent one.', {
    vm: text('The VM.'),
    text: text('For a person.'),
  }),
  slot: event('`key list`: a key slot.', {
    slot: z.int().min(1).describe('Its number.'),
    kind: slotKind,
    label,
  }),
  slots: event('`key add`, `key change`, `key remove`: the slots changed.', {
    slots: number('How many there are now.'),
    kind: slotKind,
    label,
    root,
  }),
  rotated: event('`key rotate`: new keys are in use.', { root, slots: number('Slots that were kept.') }),
  unlocked: event('`unlock`: until `lock` or the next boot, runs open the repository by themselves.', {
    kind: slotKind,
    label,
    seconds: number('For how many seconds; 0: until the machine is shut down.'),
  }),
  locked: event('`lock`.', { wasUnlocked: flag('Whether it was unlocked before.') }),
};
