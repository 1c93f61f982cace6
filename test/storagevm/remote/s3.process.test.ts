/** The S3 back end on a real service: Swift's S3 layer. */

import { randomBytes } from 'node:crypto';
import { beforeAll } from 'vitest';
import { RemoteBackEnd } from '../../../storagevm/remote/back-end.ts';
import { LocalState } from '../../../storagevm/remote/local-state.ts';
import { S3Remote } from '../../../storagevm/remote/s3.ts';
import type { S3Options } from '../../../storagevm/remote/s3-connection.ts';
import { swiftMissing, theSwift } from '../../support/swift/swift.ts';
import { tempFolder } from '../../support/temp.ts';
import { backEndContract } from '../back-end-contract.ts';

const missing = swiftMissing();
let bucket: S3Options;

beforeAll(async () => {
  if (missing === undefined) bucket = await (await theSwift()).newBucket();
});

backEndContract(
  'S3Remote on Swift',
  () => {
    const remote = new S3Remote({ ...bucket, prefix: `${randomBytes(6).toString('hex')}/` });
    const folder = tempFolder();
    return {
      open: () => new RemoteBackEnd(remote, new LocalState(folder, remote.place)),
      damage: (name, bytes) => remote.put(name, bytes),
    };
  },
  missing,
);
