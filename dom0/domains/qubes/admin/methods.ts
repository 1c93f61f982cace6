/**
 * Every method of the Admin API that the driver can call: what for, and what it means when it fails. admin.ts calls nothing
 * that is not here, and docs/qubes-calls.md is made of it.
 */

import { ADMIN_COPY_TIMEOUT, ADMIN_START_TIMEOUT, ADMIN_TIMEOUT } from '../../../../shared/limits.ts';

export interface Method {
  /** As qubesd knows it; `CLASS` stands for a class of VMs or of devices. */
  readonly method: `admin.${string}`;
  readonly argument: '' | 'NAME' | 'TEMPLATE' | 'VOLUME' | 'POOL';
  /** `dom0` for the system, or a VM. */
  readonly destination: 'dom0' | 'VM';
  readonly changes: boolean;
  /** Milliseconds for its answer. */
  readonly timeout: number;
  /** What the driver calls it for. */
  readonly use: string;
  /** What then happens when it is refused. */
  readonly failure: string;
}

type Row = readonly [
  method: Method['method'],
  argument: Method['argument'],
  destination: Method['destination'],
  use: string,
  failure: string,
];

const reads = ([method, argument, destination, use, failure]: Row): Method => {
  return { method, argument, destination, changes: false, timeout: ADMIN_TIMEOUT, use, failure };
};
const changes = ([method, argument, destination, use, failure]: Row, timeout = ADMIN_TIMEOUT): Method => {
  return { method, argument, destination, changes: true, timeout, use, failure };
};

const CAPTURE_FAILS = 'the backup of this VM fails; other VMs go on';
const REPORTED = 'named in the report of the restore; the restore goes on';
const RESTORE_FAILS = 'the restore of this VM fails; its temporary VM is removed';
/** Of what the client can ask and no command does. */
const UNUSED = 'nothing depends on it';
const ALL_UNDONE = 'every setting changed so far is set back, and the old VM is left as it was';

export const METHODS = {
  list: reads(['admin.vm.List', '', 'dom0', 'which VMs there are', 'the command fails']),
  property: reads(['admin.vm.property.Get', 'NAME', 'VM', 'one property', 'what asked for it fails']),
  properties: reads([
    'admin.vm.property.GetAll',
    '',
    'VM',
    'all properties, for the configuration',
    CAPTURE_FAILS,
  ]),
  propertyDefault: reads([
    'admin.vm.property.GetDefault',
    'NAME',
    'VM',
    'the value that a property has if it is not set',
    'what asked for it fails',
  ]),
  setProperty: changes(['admin.vm.property.Set', 'NAME', 'VM', 'applies a captured property', REPORTED]),
  resetProperty: changes([
    'admin.vm.property.Reset',
    'NAME',
    'VM',
    'gives a property its default again',
    REPORTED,
  ]),
  globals: reads([
    'admin.property.GetAll',
    '',
    'dom0',
    'defaults, for what refers to a VM',
    'the command fails',
  ]),
  setGlobal: changes([
    'admin.property.Set',
    'NAME',
    'dom0',
    'points a default at a VM that took the place of another',
    ALL_UNDONE,
  ]),
  resetGlobal: changes(['admin.property.Reset', 'NAME', 'dom0', 'sets a default back', ALL_UNDONE]),
  features: reads(['admin.vm.feature.List', '', 'VM', 'names of the features and services', CAPTURE_FAILS]),
  feature: reads(['admin.vm.feature.Get', 'NAME', 'VM', 'the value of a feature', CAPTURE_FAILS]),
  featureWithTemplate: reads([
    'admin.vm.feature.CheckWithTemplate',
    'NAME',
    'VM',
    'which system an HVM boots from its own disk',
    'the command fails',
  ]),
  setFeature: changes(['admin.vm.feature.Set', 'NAME', 'VM', 'applies a captured feature', REPORTED]),
  removeFeature: changes(['admin.vm.feature.Remove', 'NAME', 'VM', 'takes a feature away', REPORTED]),
  tags: reads([
    'admin.vm.tag.List',
    '',
    'VM',
    'the tags, and whether a VM is a temporary one',
    CAPTURE_FAILS,
  ]),
  setTag: changes([
    'admin.vm.tag.Set',
    'NAME',
    'VM',
    'applies a captured tag, marks a temporary VM',
    REPORTED,
  ]),
  removeTag: changes([
    'admin.vm.tag.Remove',
    'NAME',
    'VM',
    'takes the mark of a temporary VM away',
    REPORTED,
  ]),
  firewall: reads(['admin.vm.firewall.Get', '', 'VM', 'the rules of the firewall', CAPTURE_FAILS]),
  setFirewall: changes(['admin.vm.firewall.Set', '', 'VM', 'applies the captured rules', REPORTED]),
  notes: reads(['admin.vm.notes.Get', '', 'VM', 'the notes, from 4.3', CAPTURE_FAILS]),
  setNotes: changes(['admin.vm.notes.Set', '', 'VM', 'applies the captured notes', REPORTED]),
  volumes: reads(['admin.vm.volume.List', '', 'VM', 'which volumes a VM has', CAPTURE_FAILS]),
  volume: reads(['admin.vm.volume.Info', 'VOLUME', 'VM', 'where a volume is and its size', CAPTURE_FAILS]),
  volumeSnapshots: reads([
    'admin.vm.volume.ListSnapshots',
    'VOLUME',
    'VM',
    'the revisions that Qubes keeps',
    'the snapshot fails',
  ]),
  resizeVolume: changes(
    ['admin.vm.volume.Resize', 'VOLUME', 'VM', 'makes a volume larger, never smaller', RESTORE_FAILS],
    ADMIN_START_TIMEOUT,
  ),
  cloneFrom: changes([
    'admin.vm.volume.CloneFrom',
    'VOLUME',
    'VM',
    'a token for a copy of the volume',
    RESTORE_FAILS,
  ]),
  cloneTo: changes(
    [
      'admin.vm.volume.CloneTo',
      'VOLUME',
      'VM',
      'copies a volume, by copy-on-write where the pool can',
      RESTORE_FAILS,
    ],
    ADMIN_COPY_TIMEOUT,
  ),
  create: changes(
    ['admin.vm.Create.CLASS', 'TEMPLATE', 'dom0', 'creates a VM', RESTORE_FAILS],
    ADMIN_COPY_TIMEOUT,
  ),
  createInPool: changes(
    ['admin.vm.CreateInPool.CLASS', 'TEMPLATE', 'dom0', 'creates a VM in the pool of another', RESTORE_FAILS],
    ADMIN_COPY_TIMEOUT,
  ),
  createDisposable: changes(
    [
      ...(['admin.vm.CreateDisposable', '', 'VM'] as const),
      'no command: disposables are created under names of ours, so none that runs already is handed out',
      UNUSED,
    ],
    ADMIN_START_TIMEOUT,
  ),
  start: changes(
    ['admin.vm.Start', '', 'VM', 'starts a disposable or a storage VM', 'the job fails'],
    ADMIN_START_TIMEOUT,
  ),
  shutdown: changes(
    ['admin.vm.Shutdown', '', 'VM', 'no command: a storage VM that was started is left to its owner', UNUSED],
    ADMIN_START_TIMEOUT,
  ),
  kill: changes(['admin.vm.Kill', '', 'VM', 'ends a disposable', 'cleanup tries again at the next start']),
  remove: changes(
    [
      'admin.vm.Remove',
      '',
      'VM',
      'removes a disposable, a temporary VM, or one that was renamed',
      'cleanup tries again at the next start',
    ],
    ADMIN_COPY_TIMEOUT,
  ),
  state: reads(['admin.vm.CurrentState', '', 'VM', 'whether a VM runs', 'what asked for it fails']),
  labels: reads(['admin.label.List', '', 'dom0', 'which labels there are', RESTORE_FAILS]),
  pools: reads(['admin.pool.List', '', 'dom0', 'which pools there are', RESTORE_FAILS]),
  pool: reads([
    'admin.pool.Info',
    'POOL',
    'dom0',
    "a pool's driver and where it keeps volumes",
    CAPTURE_FAILS,
  ]),
  deviceClasses: reads([
    'admin.deviceclass.List',
    '',
    'dom0',
    'which kinds of devices there are',
    CAPTURE_FAILS,
  ]),
  assignedDevices: reads([
    'admin.vm.device.CLASS.Assigned',
    '',
    'VM',
    'devices to list, from 4.3; they are never attached',
    CAPTURE_FAILS,
  ]),
  listedDevices: reads([
    'admin.vm.device.CLASS.List',
    '',
    'VM',
    'the same in 4.2, where Assigned is unknown',
    CAPTURE_FAILS,
  ]),
  events: reads(['admin.Events', '', 'dom0', 'no command: a start answers when it is over', UNUSED]),
} as const satisfies Record<string, Method>;

export type MethodName = keyof typeof METHODS;
