/** When scheduled runs begin: by the local clock of this machine, as systemd.time(7) reads the same. */

import * as z from 'zod';

export const WEEKDAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;

const hour = z.int().min(0).max(23);
const minute = z.int().min(0).max(59);

export const calendar = z.discriminatedUnion('every', [
  z.strictObject({ every: z.literal('hour') }),
  z.strictObject({ every: z.literal('day'), hour, minute }),
  z.strictObject({ every: z.literal('week'), day: z.enum(WEEKDAYS), hour, minute }),
]);

export type Calendar = z.output<typeof calendar>;

/** `02:00` and `mon,02:00` as what they mean; undefined if they are not that. */
export function parseTime(text: string): { readonly hour: number; readonly minute: number } | undefined {
  const [, hours, minutes] = /^([01]?\d|2[0-3]):([0-5]\d)$/.exec(text) ?? [];
  return hours === undefined ? undefined : { hour: Number(hours), minute: Number(minutes) };
}

export function parseWeekly(text: string): Calendar | undefined {
  const [name = '', clock = '', ...rest] = text.toLowerCase().split(',');
  const [day, time] = [WEEKDAYS.find((one) => one === name.slice(0, 3)), parseTime(clock)];
  return day === undefined || time === undefined || rest.length > 0
    ? undefined
    : { every: 'week', day, ...time };
}

/** As people say it. */
export function describe(when: Calendar): string {
  if (when.every === 'hour') return 'each hour';
  return when.every === 'day' ? `daily at ${clock(when)}` : `each ${when.day} at ${clock(when)}`;
}

/** As systemd's OnCalendar= has it. */
export function onCalendar(when: Calendar): string {
  if (when.every === 'hour') return 'hourly';
  const day = when.every === 'week' ? `${when.day.charAt(0).toUpperCase()}${when.day.slice(1)} ` : '';
  return `${day}*-*-* ${clock(when)}:00`;
}

/** The next time after `now`; both in milliseconds since 1970. */
export function nextTime(when: Calendar, now: number): number {
  const date = new Date(now);
  if (when.every === 'hour') return date.setMinutes(60, 0, 0);
  date.setHours(when.hour, when.minute, 0, 0);
  // A time that the clock leaves out in spring is an hour later, as Date has it and systemd too.
  while (date.getTime() <= now || (when.every === 'week' && WEEKDAYS[date.getDay()] !== when.day)) {
    date.setDate(date.getDate() + 1);
    date.setHours(when.hour, when.minute, 0, 0);
  }
  return date.getTime();
}

function clock(time: { readonly hour: number; readonly minute: number }): string {
  return `${String(time.hour).padStart(2, '0')}:${String(time.minute).padStart(2, '0')}`;
}
