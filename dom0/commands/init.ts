/** `init`: creates a repository in empty stores, the primary one first. */

import { newRepositoryId } from '../../shared/ids.ts';
import type { App } from '../app.ts';
import { Keyring } from '../keys/keyring.ts';
import { SECRET_NAMES } from '../keys/secret.ts';
import type { Secret } from '../keys/secret.ts';
import { createSlot } from '../keys/slots.ts';
import { createRepository } from '../repository/open.ts';
import { fingerprint } from '../words.ts';
import { syncStores } from './sync-stores.ts';

/** `secrets`: one key slot each, at least one. */
export async function init(app: App, secrets: () => Promise<readonly Secret[]>): Promise<void> {
  await app.lockToPublish();
  app.defer(() => app.storage.abort());
  for (const { name, folder, removable } of app.config.stores)
    if (folder === undefined && !removable) await app.domains.prepareStorage(name);
  const keyring = Keyring.create(newRepositoryId());
  app.defer(() => keyring.close());
  const repository = await createRepository(app.repositoryOptions, keyring, async () => {
    const presented = await secrets();
    app.deferWipe(presented);
    const slots = [];
    for (const secret of presented) slots.push(await createSlot(keyring, secret, SECRET_NAMES[secret.kind]));
    return slots;
  });
  await syncStores(
    app,
    repository,
    app.storage.all.filter(({ standing }) => standing.is === 'empty'),
  );
  app.storage.report();
  await app.closeStorage();
  const { hash, body } = repository.root;
  app.output.line(
    `Created a repository in ${app.storage.inStep.map(({ name }) => name).join(', ')}, opened by ${body.slots.map((slot) => slot.label).join(' or ')}.`,
  );
  app.output.line(`Fingerprint of its first root: ${fingerprint(hash)}`);
  app.output.line(
    'Without the secret nothing can ever be restored: keep it safe, and apart from this machine.',
  );
  app.output.event('initialised', {
    storage: app.storage.primary.name,
    stores: app.storage.inStep.map(({ name }) => name),
    repository: body.repository,
    fingerprint: fingerprint(hash),
  });
}
