/**
 * What `status` tells as metrics in the text format of Prometheus ("Exposition formats" in its manual), for the textfile collector of
 * node_exporter. A VM is known by name and the start of its id, as several may have had one name.
 */

import type { Overview } from './status.ts';
import type { VmState } from './survey.ts';

/** Undefined is left out. */
type Value = number | undefined;
type Labels = Readonly<Record<string, string>>;

const seconds = (milliseconds: number | undefined): Value =>
  milliseconds === undefined ? undefined : milliseconds / 1000;

/** Of each VM: the metric's name, what it is, and its value. */
const OF_VM: readonly (readonly [string, string, (vm: VmState) => Value])[] = [
  [
    'last_backup_timestamp_seconds',
    'When the newest complete snapshot was taken.',
    (vm) => seconds(vm.newest?.takenAt),
  ],
  ['size_bytes', 'Bytes of files in the newest complete snapshot.', (vm) => vm.newest?.bytes],
  ['files', 'Files in the newest complete snapshot.', (vm) => vm.newest?.files],
  ['warnings', 'Warnings of the newest complete snapshot.', (vm) => vm.newest?.warnings],
  ['snapshots', 'Complete snapshots.', (vm) => vm.snapshots],
  ['included', '1 if the VM is to be backed up.', (vm) => Number(vm.included)],
  ['orphaned', '1 if no VM here continues these snapshots.', (vm) => Number(vm.orphaned)],
  ['stale', '1 if the VM has been without a backup for too long.', (vm) => Number(vm.stale !== undefined)],
  [
    'frozen',
    '1 if much was deleted or rewritten, and nobody has acknowledged it.',
    (vm) => Number(vm.alarms.length > 0),
  ],
  ['last_check_timestamp_seconds', 'When this machine last checked it.', (vm) => seconds(vm.diary.check?.at)],
  ['check_faults', 'Faults that the last check left.', (vm) => vm.diary.check?.faults],
  ['last_drill_timestamp_seconds', 'When this machine last drilled it.', (vm) => seconds(vm.diary.drill?.at)],
  [
    'drill_passed',
    '1 if the last drill passed.',
    ({ diary: { drill } }) => drill && Number(drill.result === 'passed'),
  ],
];

/** Every metric with its help and type, all its lines together; ends with a newline. */
export function prometheusText({ now, counter, vms, stores, next, problems }: Overview): string {
  const single = (name: string, help: string, value: Value) => metric(name, help, [[{}, value]]);
  const ofStore = (name: string, help: string, pick: (store: (typeof stores)[number]) => Value) =>
    metric(
      `store_${name}`,
      help,
      stores.map((store) => [{ store: store.name }, pick(store)]),
    );
  return [
    ...OF_VM.map(([name, help, pick]) =>
      metric(
        `vm_${name}`,
        help,
        vms.map((vm) => [{ vm: vm.name, id: vm.id?.slice(0, 8) ?? '' }, pick(vm)]),
      ),
    ),
    ofStore('bytes', 'Bytes that the store lists.', ({ bytes }) => bytes ?? undefined),
    ofStore('objects', 'Objects that the store lists.', ({ objects }) => objects ?? undefined),
    ofStore('in_step', '1 if the store has all that was published.', ({ inStep }) => Number(inStep)),
    single('root_counter', 'Number of the newest root.', counter),
    single('next_run_timestamp_seconds', 'When the next scheduled run begins.', seconds(next)),
    single('problems', 'Things that need a person.', problems.length),
    single('status_timestamp_seconds', 'When all this was found out.', seconds(now)),
  ].join('');
}

/** Empty if it has no value at all. */
function metric(name: string, help: string, samples: readonly (readonly [Labels, Value])[]): string {
  const full = `qubes_backup_${name}`;
  const lines = samples.flatMap(([labels, value]) =>
    value === undefined ? [] : [`${full}${labelText(labels)} ${value}\n`],
  );
  return lines.length === 0 ? '' : `# HELP ${full} ${help}\n# TYPE ${full} gauge\n${lines.join('')}`;
}

function labelText(labels: Labels): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}

function escapeLabel(value: string): string {
  return value.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n');
}
