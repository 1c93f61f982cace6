/** Events of this machine: how all stands, what is configured and scheduled, what was logged. */

import * as z from 'zod';
import { LEVELS } from '../state/run-log.ts';
import { calendar } from '../schedule/calendar.ts';
import { event, fingerprint, flag, number, root, snapshot, text, texts, time, vm } from './kit.ts';

const problems = texts('What needs a person, each in a line; empty if all is well.');

/** Of a VM or of the file, depending on the command: two events have this name. */
const config = {
  about:
    '`config check`: the file is right. `restore --only-config`: the settings of a VM as they were backed up, in `config`.',
  schema: z.union([
    z.strictObject({
      file: text('The file.'),
      problems: z.literal(0).describe('None.'),
      warnings: texts('What may be a mistake, such as a VM that is not there.'),
    }),
    z.strictObject({
      vm,
      snapshot,
      config: z.json().describe('The settings as they were captured (docs/format.md, section 5).'),
    }),
  ]),
};

const schedule = {
  about: '`schedule enable`, `disable`, `show`: what runs by itself.',
  schema: z.union([
    z.strictObject({ enabled: z.literal(false).describe('Nothing does.') }),
    z.strictObject({
      enabled: z.literal(true).describe('This does.'),
      when: calendar.describe('When, by the local clock.'),
      onAc: flag('Only with mains power.'),
      vms: texts('VMs; null for all that are included in backups.').nullable(),
      forget: flag('Then forget by the rules of the configuration.'),
      check: z
        .number()
        .min(0)
        .max(100)
        .nullable()
        .describe('Then check, and read so many percent; null for no check.'),
      drill: number('Then drill so many VMs.'),
      due: flag('A run waits for mains power, or is under way.'),
      next: time('When it runs next, or up to a quarter of an hour later.'),
    }),
  ]),
};

export const MACHINE_EVENTS = {
  'vm-status': event('`status`: how a VM stands.', {
    vm,
    id: text('Its id in the store; null if it was never backed up.').nullable(),
    included: flag('It is to be backed up.'),
    orphaned: flag('It has snapshots, and no VM here continues them.'),
    snapshots: number('Complete ones.'),
    lastBackup: z
      .strictObject({
        number: snapshot,
        takenAt: time('When it was taken.'),
        files: number('Its files.'),
        bytes: number('Their bytes.'),
        warnings: number('Warnings while it was taken.'),
      })
      .nullable()
      .describe('The newest complete snapshot; null without one.'),
    lastCheck: z
      .strictObject({
        at: time('When it ended.'),
        share: z.number().min(0).max(100).describe('Percent of the data that was read.'),
        faults: number('Faults of this VM that remained.'),
      })
      .nullable()
      .describe('The last check by this machine; null without one.'),
    lastDrill: z
      .strictObject({
        at: time('When it ended.'),
        snapshot,
        result: z.enum(['passed', 'failed']).describe('How it ended.'),
        detail: text('For a person.'),
      })
      .nullable()
      .describe('The last drill by this machine; null without one.'),
    problems,
  }),
  status: event('`status`: all in all.', {
    root,
    fingerprint,
    stores: z
      .array(
        z.strictObject({
          name: text('The store.'),
          objects: number('Objects that it holds; null if not known.').nullable(),
          bytes: number('Their bytes.').nullable(),
          inStep: flag('It has the newest root.'),
          state: text('How it stands, for a person.'),
        }),
      )
      .describe('Each store.'),
    nextRun: time('When the schedule runs next; null without one.').nullable(),
    problems,
  }),
  report: event('`report`: the page was written.', {
    file: text('The file.'),
    bytes: number('Its size.'),
    vms: number('How many VMs it is about.'),
  }),
  schedule,
  config,
  'config-difference': event('`restore --only-config`: what is otherwise now than it was.', {
    vm,
    path: text('The setting.'),
    was: z.json().describe('As it was backed up; null if it was not there.'),
    is: z.json().describe('As it is; null if it is not there.'),
  }),
  'config-problem': event('`config check`: something that is wrong in the file.', {
    file: text('The file.'),
    key: text('The setting, as it is written in TOML; empty of the whole file.'),
    line: z.int().min(1).optional().describe('Its line; not there for what is missing.'),
    message: text('For a person.'),
  }),
  setting: event('`config show`: a setting.', {
    key: text('As it is written in TOML.'),
    value: z.json().describe('Its value.'),
    table: text('The table that sets it; null of a default.').nullable(),
    line: z.int().min(1).nullable().describe('The line that does.'),
  }),
  finding: event('`doctor`: what was found of one thing.', {
    level: z.enum(['ok', 'warn', 'fail']),
    about: text('What was looked at.'),
    text: text('What is so, and what to do; for a person.'),
  }),
  examined: event('`doctor`: the findings in numbers.', {
    ok: number('What is well.'),
    warn: number('What deserves a look.'),
    fail: number('What must be set right.'),
  }),
  log: event('`logs`: an entry of the log of this machine.', {
    at: time('When.'),
    run: text('The same for all entries of one run.'),
    level: z.enum(LEVELS),
    text: text('What was said; of a `result` one of these events.'),
    vm: text('Of what a service said: its VM.').optional(),
    service: text('Of what a service said: the service.').optional(),
  }),
  script: event('`completion`: the script for a shell.', {
    shell: z.enum(['bash', 'zsh', 'fish']),
    text: text('The script.'),
  }),
};
