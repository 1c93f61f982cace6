/** Lengths of time as people give them: `30d`, `1y6m`, `12h`. Years, months and days are those of the local calendar. */

import * as z from 'zod';

export interface Duration {
  readonly years: number;
  readonly months: number;
  readonly days: number;
  readonly hours: number;
}

const SHAPE = /^(?=.)(?:(\d{1,4})y)?(?:(\d{1,4})m)?(?:(\d{1,5})d)?(?:(\d{1,6})h)?$/;

/** A duration in its text form: years, months, days, hours, in this order, each at most once. Not nothing at all. */
export const duration = z.string().transform((text, context): Duration => {
  const [years = 0, months = 0, days = 0, hours = 0] =
    SHAPE.exec(text)
      ?.slice(1)
      .map((digits: string | undefined) => Number(digits ?? 0)) ?? [];
  if (years + months + days + hours === 0) {
    const message = 'give years, months, days and hours, such as 30d or 1y6m';
    context.issues.push({ code: 'custom', input: text, message });
  }
  return { years, months, days, hours };
});

/** So long before `time` (milliseconds since 1970, like the answer). The 31st of a month without one is the first of the next. */
export function before(time: number, { years, months, days, hours }: Duration): number {
  const date = new Date(time);
  date.setFullYear(date.getFullYear() - years, date.getMonth() - months, date.getDate() - days);
  return date.getTime() - hours * 3_600_000;
}
